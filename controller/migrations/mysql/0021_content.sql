-- Contents that are too long to ride along, by their hash.
CREATE TABLE content (
    hash VARCHAR(64) NOT NULL,
    size BIGINT NOT NULL,
    bytes LONGBLOB NOT NULL,
    used_ms BIGINT NOT NULL,
    PRIMARY KEY (hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
