-- Changes that an administrator applied over a protection or a freeze.
CREATE TABLE change_override (
    change_id VARCHAR(36) NOT NULL,
    what VARCHAR(16) NOT NULL,
    author VARCHAR(128) NOT NULL,
    reason TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (change_id, what)
);
