-- The nodes that a signature names.
CREATE TABLE signature_node (
    node VARCHAR(36) NOT NULL,
    signature VARCHAR(36) NOT NULL,
    PRIMARY KEY (node, signature)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
