-- The last report of each node and outbox epoch that was committed.
CREATE TABLE outbox_seen (
    node VARCHAR(36) NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (node, epoch),
    KEY outbox_seen_at_ms (at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
