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
    UNIQUE KEY session_secret_hash (secret_hash),
    KEY session_user_id (user_id),
    KEY session_expires_ms (expires_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
