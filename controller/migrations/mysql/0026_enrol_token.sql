-- Tokens for enrolment, hashed. Who used one stands in enrol_use.
CREATE TABLE enrol_token (
    id VARCHAR(36) NOT NULL,
    secret_hash VARCHAR(64) NOT NULL,
    roles TEXT NOT NULL,
    labels TEXT NOT NULL,
    node_name VARCHAR(253),
    cidr VARCHAR(64),
    uses BIGINT NOT NULL,
    observe BIGINT NOT NULL,
    created_by VARCHAR(128) NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    withdrawn_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE KEY enrol_token_secret_hash (secret_hash),
    KEY enrol_token_created_ms (created_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
