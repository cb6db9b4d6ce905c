-- The labels of each node.
CREATE TABLE node_label (
    node VARCHAR(36) NOT NULL,
    name VARCHAR(63) NOT NULL,
    value VARCHAR(128) NOT NULL,
    PRIMARY KEY (node, name)
);
CREATE INDEX node_label_name_value_node ON node_label (name, value, node);
