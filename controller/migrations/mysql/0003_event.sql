-- Facts in the order of commits.
CREATE TABLE event (
    seq BIGINT NOT NULL,
    kind VARCHAR(64) NOT NULL,
    at_ms BIGINT NOT NULL,
    node VARCHAR(36),
    object VARCHAR(36),
    change_id VARCHAR(36),
    details MEDIUMTEXT NOT NULL,
    PRIMARY KEY (seq),
    KEY event_at_ms (at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
