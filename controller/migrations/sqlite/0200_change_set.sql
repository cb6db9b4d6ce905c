-- The set of manifests that a change is of, and what it may do to others: `prune`, `takes`.
CREATE TABLE change_set (
    change_id VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    prune BIGINT NOT NULL,
    takes BIGINT NOT NULL,
    PRIMARY KEY (change_id)
);
