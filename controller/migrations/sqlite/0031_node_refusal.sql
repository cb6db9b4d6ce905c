-- Nodes that refuse the state that this store gives them, and why.
CREATE TABLE node_refusal (
    node VARCHAR(36) NOT NULL,
    code VARCHAR(64) NOT NULL,
    message TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (node)
);
