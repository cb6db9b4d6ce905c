-- The roles of each node.
CREATE TABLE node_role (
    node VARCHAR(36) NOT NULL,
    role VARCHAR(32) NOT NULL,
    PRIMARY KEY (node, role),
    KEY node_role_role_node (role, node)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
