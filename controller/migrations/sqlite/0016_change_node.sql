-- How a change goes on each node.
CREATE TABLE change_node (
    change_id VARCHAR(36) NOT NULL,
    node VARCHAR(36) NOT NULL,
    epoch BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    hash VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL,
    took_ms BIGINT,
    message TEXT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (change_id, node)
);
CREATE INDEX change_node_node_change_id ON change_node (node, change_id);
CREATE INDEX change_node_change_id_state ON change_node (change_id, state);
