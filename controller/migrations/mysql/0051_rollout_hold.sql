-- Who doesn't have a change yet.
CREATE TABLE rollout_hold (
    change_id VARCHAR(36) NOT NULL,
    node VARCHAR(36) NOT NULL,
    PRIMARY KEY (change_id, node)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
