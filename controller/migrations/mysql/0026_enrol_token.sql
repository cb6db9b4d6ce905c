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
    UNIQUE KEY enrol_token_secret_hash (secret_hash),
    KEY enrol_token_created_ms (created_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
