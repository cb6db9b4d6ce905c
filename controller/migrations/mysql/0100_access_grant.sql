-- What users and groups may do beside the users' own presets, and where. One of user_id and group_id is there.
CREATE TABLE access_grant (
    id VARCHAR(36) NOT NULL,
    user_id VARCHAR(36),
    group_id VARCHAR(36),
    actions VARCHAR(400) NOT NULL,
    scope VARCHAR(400) NOT NULL,
    reason TEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
