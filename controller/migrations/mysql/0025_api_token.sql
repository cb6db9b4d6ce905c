-- Tokens for the API; the secret stands as its hash.
CREATE TABLE api_token (
    id VARCHAR(36) NOT NULL,
    user_id VARCHAR(36) NOT NULL,
    name VARCHAR(128) NOT NULL,
    preset VARCHAR(16) NOT NULL,
    secret_hash VARCHAR(64) NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    used_ms BIGINT,
    used_from VARCHAR(64),
    revoked_ms BIGINT,
    cidr VARCHAR(64),
    PRIMARY KEY (id),
    UNIQUE KEY api_token_secret_hash (secret_hash),
    KEY api_token_user_id (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
