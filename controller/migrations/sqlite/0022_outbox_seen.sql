-- The last report of each node and outbox epoch that was committed.
CREATE TABLE outbox_seen (
    node VARCHAR(36) NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (node, epoch)
);
CREATE INDEX outbox_seen_at_ms ON outbox_seen (at_ms);
