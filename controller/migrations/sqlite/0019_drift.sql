-- Changes by hand.
CREATE TABLE drift (
    id VARCHAR(36) NOT NULL,
    node VARCHAR(36) NOT NULL,
    target_key VARCHAR(32) NOT NULL,
    target TEXT NOT NULL,
    object VARCHAR(36) NOT NULL,
    epoch BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    outcome VARCHAR(16) NOT NULL,
    path TEXT NOT NULL,
    diff TEXT NOT NULL,
    observed TEXT,
    content BLOB,
    node_ms BIGINT NOT NULL,
    found_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    decision VARCHAR(16),
    decided_by VARCHAR(128),
    change_id VARCHAR(36),
    PRIMARY KEY (id)
);
CREATE INDEX drift_outcome_id ON drift (outcome, id);
CREATE INDEX drift_node_target_key ON drift (node, target_key);
CREATE INDEX drift_object ON drift (object);
