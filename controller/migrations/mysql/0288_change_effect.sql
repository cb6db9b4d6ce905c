-- The resources that a change makes otherwise on nodes: each set of them once, by its hash.
CREATE TABLE change_effect (
    change_id VARCHAR(36) NOT NULL,
    hash VARCHAR(64) NOT NULL,
    body LONGTEXT NOT NULL,
    PRIMARY KEY (change_id, hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
