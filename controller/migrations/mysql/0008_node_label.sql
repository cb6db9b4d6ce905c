-- The labels of each node.
CREATE TABLE node_label (
    node VARCHAR(36) NOT NULL,
    name VARCHAR(63) NOT NULL,
    value VARCHAR(128) NOT NULL,
    PRIMARY KEY (node, name),
    KEY node_label_name_value_node (name, value, node)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
