-- Groups of the dashboard's users.
CREATE TABLE user_group (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    note VARCHAR(800) NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY user_group_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
