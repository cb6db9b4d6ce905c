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
    PRIMARY KEY (change_id, node),
    KEY change_node_node_change_id (node, change_id),
    KEY change_node_change_id_state (change_id, state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
