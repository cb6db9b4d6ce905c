-- What nodes are for.
CREATE TABLE role (
    name VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
