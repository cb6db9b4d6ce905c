-- What each node says of itself, as JSON.
CREATE TABLE node_facts (
    node VARCHAR(36) NOT NULL,
    at_ms BIGINT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (node)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
