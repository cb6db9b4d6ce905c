-- The roles of each node.
CREATE TABLE node_role (
    node VARCHAR(36) NOT NULL,
    role VARCHAR(32) NOT NULL,
    PRIMARY KEY (node, role)
);
CREATE INDEX node_role_role_node ON node_role (role, node);
