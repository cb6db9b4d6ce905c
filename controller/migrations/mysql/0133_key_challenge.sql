-- What security keys were asked to sign: each challenge serves once, for what it was made for.
CREATE TABLE key_challenge (
    challenge_hash VARCHAR(64) NOT NULL,
    purpose VARCHAR(16) NOT NULL,
    bound_to VARCHAR(36) NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (challenge_hash),
    KEY key_challenge_by_end (expires_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
