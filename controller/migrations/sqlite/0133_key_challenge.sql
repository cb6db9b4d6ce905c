-- What security keys were asked to sign: each challenge serves once, for what it was made for.
CREATE TABLE key_challenge (
    challenge_hash VARCHAR(64) NOT NULL,
    purpose VARCHAR(16) NOT NULL,
    bound_to VARCHAR(36) NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (challenge_hash)
);
CREATE INDEX key_challenge_by_end ON key_challenge (expires_ms);
