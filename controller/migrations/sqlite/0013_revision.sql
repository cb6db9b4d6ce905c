-- What each object was, for ever; an absent one is a deletion.
CREATE TABLE revision (
    object VARCHAR(36) NOT NULL,
    revision BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    scope VARCHAR(500) NOT NULL,
    name VARCHAR(128) NOT NULL,
    absent BIGINT NOT NULL,
    drift VARCHAR(16) NOT NULL,
    body TEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    reason TEXT NOT NULL,
    change_id VARCHAR(36),
    change_number BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (object, revision)
);
CREATE INDEX revision_change_id ON revision (change_id);
CREATE INDEX revision_at_ms ON revision (at_ms);
CREATE INDEX revision_kind_scope_name ON revision (kind, scope, name);
