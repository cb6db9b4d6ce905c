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
    resources TEXT NOT NULL,
    PRIMARY KEY (node)
);
CREATE INDEX node_config_state ON node_config (state);
