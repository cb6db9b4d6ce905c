-- Who is in which group.
CREATE TABLE user_group_member (
    user_id VARCHAR(36) NOT NULL,
    group_id VARCHAR(36) NOT NULL,
    added_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id)
);
