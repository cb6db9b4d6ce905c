-- What an operator can change, as it stands; a node scope holds the id of the node.
CREATE TABLE object (
    id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    scope VARCHAR(500) NOT NULL,
    name VARCHAR(128) NOT NULL,
    revision BIGINT NOT NULL,
    drift VARCHAR(16) NOT NULL,
    body LONGTEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    reason TEXT NOT NULL,
    change_id VARCHAR(36),
    change_number BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY object_kind_scope_name (kind, scope, name),
    KEY object_name_id (name, id),
    KEY object_scope (scope)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
