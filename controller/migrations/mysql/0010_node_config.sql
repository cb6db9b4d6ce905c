-- What each node shall be by number and hash, and how far it is.
CREATE TABLE node_config (
    node VARCHAR(36) NOT NULL,
    epoch BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    hash VARCHAR(64) NOT NULL,
    change_id VARCHAR(36),
    assigned_ms BIGINT NOT NULL,
    reported_epoch BIGINT NOT NULL,
    reported_counter BIGINT NOT NULL,
    reported_hash VARCHAR(64) NOT NULL,
    phase VARCHAR(16) NOT NULL,
    state VARCHAR(16) NOT NULL,
    took_ms BIGINT NOT NULL,
    converged BIGINT NOT NULL,
    total BIGINT NOT NULL,
    reported_ms BIGINT,
    resources LONGTEXT NOT NULL,
    PRIMARY KEY (node),
    KEY node_config_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
