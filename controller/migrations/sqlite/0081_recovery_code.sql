-- Codes that each serve once instead of the authenticator; they stand as their hashes.
CREATE TABLE recovery_code (
    user_id VARCHAR(36) NOT NULL,
    code_hash VARCHAR(64) NOT NULL,
    used_ms BIGINT,
    PRIMARY KEY (user_id, code_hash)
);
