-- What a source's manifests say of each object, as they were read last. `wanted`: present, absent, or gone from git.
CREATE TABLE source_object (
    source VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    scope VARCHAR(500) NOT NULL,
    name VARCHAR(128) NOT NULL,
    wanted VARCHAR(16) NOT NULL,
    drift VARCHAR(16) NOT NULL,
    body LONGTEXT NOT NULL,
    previous_name VARCHAR(128),
    path VARCHAR(1000) NOT NULL,
    line BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    brought BIGINT NOT NULL,
    PRIMARY KEY (source, kind, scope, name),
    KEY source_object_by_key (kind, scope, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
