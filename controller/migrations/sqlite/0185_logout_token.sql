-- Logout tokens of providers that were taken: each counts once.
CREATE TABLE logout_token (
    token_hash VARCHAR(64) NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (token_hash)
);
