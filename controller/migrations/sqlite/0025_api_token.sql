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
    UNIQUE (secret_hash)
);
CREATE INDEX api_token_user_id ON api_token (user_id);
