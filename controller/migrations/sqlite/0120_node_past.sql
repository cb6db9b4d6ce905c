-- How nodes stood, as intervals: a row holds from `from_ms` to before `until_ms`, the last one of a node without an end.
CREATE TABLE node_past (
    node VARCHAR(36) NOT NULL,
    from_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    name VARCHAR(63) NOT NULL,
    roles TEXT NOT NULL,
    labels TEXT NOT NULL,
    observe BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    config VARCHAR(16) NOT NULL,
    generation VARCHAR(48) NOT NULL,
    converged BIGINT NOT NULL,
    total BIGINT NOT NULL,
    PRIMARY KEY (node, from_ms)
);
CREATE INDEX node_past_until_ms ON node_past (until_ms);
