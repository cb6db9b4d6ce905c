-- The nodes that a signature names.
CREATE TABLE signature_node (
    node VARCHAR(36) NOT NULL,
    signature VARCHAR(36) NOT NULL,
    PRIMARY KEY (node, signature)
);
