-- Which nodes were given which values of secrets, and how far the purge of a value is there.
CREATE TABLE secret_holder (
    value VARCHAR(36) NOT NULL,
    node VARCHAR(36) NOT NULL,
    name VARCHAR(253) NOT NULL,
    given_ms BIGINT NOT NULL,
    purge_ms BIGINT,
    next_ms BIGINT,
    attempts BIGINT NOT NULL,
    gone_ms BIGINT,
    why TEXT NOT NULL,
    PRIMARY KEY (value, node),
    KEY secret_holder_next (next_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
