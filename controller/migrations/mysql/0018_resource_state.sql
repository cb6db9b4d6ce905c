-- Resources that are not quietly in force; the others stand in node_config alone.
CREATE TABLE resource_state (
    node VARCHAR(36) NOT NULL,
    target_key VARCHAR(32) NOT NULL,
    target MEDIUMTEXT NOT NULL,
    object VARCHAR(36) NOT NULL,
    state VARCHAR(16) NOT NULL,
    report MEDIUMTEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (node, target_key),
    KEY resource_state_object (object),
    KEY resource_state_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
