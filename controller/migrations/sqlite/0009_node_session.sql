-- Who holds the connection of each node; the epoch fences older holders.
CREATE TABLE node_session (
    node VARCHAR(36) NOT NULL,
    controller VARCHAR(36) NOT NULL,
    epoch BIGINT NOT NULL,
    address VARCHAR(64) NOT NULL,
    opened_ms BIGINT NOT NULL,
    closed_ms BIGINT,
    reason VARCHAR(255) NOT NULL,
    PRIMARY KEY (node)
);
