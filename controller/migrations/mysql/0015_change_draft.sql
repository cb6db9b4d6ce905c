-- What a change asks for.
CREATE TABLE change_draft (
    change_id VARCHAR(36) NOT NULL,
    position BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    scope VARCHAR(500) NOT NULL,
    name VARCHAR(128) NOT NULL,
    object VARCHAR(36),
    base_revision BIGINT NOT NULL,
    absent BIGINT NOT NULL,
    drift VARCHAR(16) NOT NULL,
    body LONGTEXT NOT NULL,
    previous_name VARCHAR(128),
    PRIMARY KEY (change_id, position)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
