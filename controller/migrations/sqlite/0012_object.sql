-- What an operator can change, as it stands; a node scope holds the id of the node.
CREATE TABLE object (
    id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    scope VARCHAR(500) NOT NULL,
    name VARCHAR(128) NOT NULL,
    revision BIGINT NOT NULL,
    drift VARCHAR(16) NOT NULL,
    body TEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    reason TEXT NOT NULL,
    change_id VARCHAR(36),
    change_number BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (kind, scope, name)
);
CREATE INDEX object_name_id ON object (name, id);
CREATE INDEX object_scope ON object (scope);
