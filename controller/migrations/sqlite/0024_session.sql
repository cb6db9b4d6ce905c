-- Who is signed in; the secret stands as its hash.
CREATE TABLE session (
    id VARCHAR(36) NOT NULL,
    user_id VARCHAR(36) NOT NULL,
    secret_hash VARCHAR(64) NOT NULL,
    csrf VARCHAR(64) NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    from_addr VARCHAR(64) NOT NULL,
    user_agent VARCHAR(255) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (secret_hash)
);
CREATE INDEX session_user_id ON session (user_id);
CREATE INDEX session_expires_ms ON session (expires_ms);
