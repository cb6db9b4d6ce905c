-- Contents that are too long to ride along, by their hash.
CREATE TABLE content (
    hash VARCHAR(64) NOT NULL,
    size BIGINT NOT NULL,
    bytes BLOB NOT NULL,
    used_ms BIGINT NOT NULL,
    PRIMARY KEY (hash)
);
