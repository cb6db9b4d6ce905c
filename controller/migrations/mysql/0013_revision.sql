-- What each object was, for ever; an absent one is a deletion.
CREATE TABLE revision (
    object VARCHAR(36) NOT NULL,
    revision BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    scope VARCHAR(500) NOT NULL,
    name VARCHAR(128) NOT NULL,
    absent BIGINT NOT NULL,
    drift VARCHAR(16) NOT NULL,
    body LONGTEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    reason TEXT NOT NULL,
    change_id VARCHAR(36),
    change_number BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (object, revision),
    KEY revision_change_id (change_id),
    KEY revision_at_ms (at_ms),
    KEY revision_kind_scope_name (kind, scope, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
