-- Plans as they were shown.
CREATE TABLE plan (
    id VARCHAR(64) NOT NULL,
    change_id VARCHAR(36) NOT NULL,
    made_ms BIGINT NOT NULL,
    author VARCHAR(128) NOT NULL,
    body LONGTEXT NOT NULL,
    PRIMARY KEY (id),
    KEY plan_change_id (change_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
