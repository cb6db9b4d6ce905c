-- Who doesn't have a change yet.
CREATE TABLE rollout_hold (
    change_id VARCHAR(36) NOT NULL,
    node VARCHAR(36) NOT NULL,
    PRIMARY KEY (change_id, node)
);
