-- Servers with an agent.
CREATE TABLE node (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(253) NOT NULL,
    address VARCHAR(45),
    observed_address VARCHAR(64),
    state VARCHAR(16) NOT NULL,
    enrolled_ms BIGINT NOT NULL,
    seen_ms BIGINT,
    revoked_ms BIGINT,
    os VARCHAR(255) NOT NULL,
    agent_version VARCHAR(64) NOT NULL,
    machine VARCHAR(128) NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY node_name (name),
    KEY node_state (state),
    KEY node_machine (machine)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
