-- How an applied change reaches its nodes, wave by wave.
CREATE TABLE rollout (
    change_id VARCHAR(36) NOT NULL,
    state VARCHAR(16) NOT NULL,
    body TEXT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (change_id)
);
