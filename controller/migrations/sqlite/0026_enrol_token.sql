-- Tokens for enrolment: single use, hashed.
CREATE TABLE enrol_token (
    id VARCHAR(36) NOT NULL,
    secret_hash VARCHAR(64) NOT NULL,
    roles TEXT NOT NULL,
    node_name VARCHAR(253),
    cidrs TEXT NOT NULL,
    created_by VARCHAR(128) NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    used_ms BIGINT,
    used_by VARCHAR(36),
    used_from VARCHAR(64),
    withdrawn_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE (secret_hash)
);
CREATE INDEX enrol_token_created_ms ON enrol_token (created_ms);
