-- Who is in which group.
CREATE TABLE user_group_member (
    user_id VARCHAR(36) NOT NULL,
    group_id VARCHAR(36) NOT NULL,
    added_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
