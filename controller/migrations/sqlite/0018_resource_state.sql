-- Resources that are not quietly in force; the others stand in node_config alone.
CREATE TABLE resource_state (
    node VARCHAR(36) NOT NULL,
    target_key VARCHAR(32) NOT NULL,
    target TEXT NOT NULL,
    object VARCHAR(36) NOT NULL,
    state VARCHAR(16) NOT NULL,
    report TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (node, target_key)
);
CREATE INDEX resource_state_object ON resource_state (object);
CREATE INDEX resource_state_state ON resource_state (state);
