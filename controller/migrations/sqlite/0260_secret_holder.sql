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
    PRIMARY KEY (value, node)
);
CREATE INDEX secret_holder_next ON secret_holder (next_ms);
