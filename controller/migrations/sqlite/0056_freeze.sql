-- Windows in which no change is applied to the nodes of a scope.
CREATE TABLE freeze (
    id VARCHAR(36) NOT NULL,
    scope VARCHAR(400) NOT NULL,
    from_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    reason TEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    created_ms BIGINT NOT NULL,
    ended_by VARCHAR(128) NOT NULL,
    PRIMARY KEY (id)
);
