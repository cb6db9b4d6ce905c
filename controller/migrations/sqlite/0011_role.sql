-- What nodes are for.
CREATE TABLE role (
    name VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (name)
);
