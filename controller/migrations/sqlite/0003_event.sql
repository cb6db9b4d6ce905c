-- Facts in the order of commits.
CREATE TABLE event (
    seq BIGINT NOT NULL,
    kind VARCHAR(64) NOT NULL,
    at_ms BIGINT NOT NULL,
    node VARCHAR(36),
    object VARCHAR(36),
    change_id VARCHAR(36),
    details TEXT NOT NULL,
    PRIMARY KEY (seq)
);
CREATE INDEX event_at_ms ON event (at_ms);
