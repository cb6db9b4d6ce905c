-- Plans as they were shown.
CREATE TABLE plan (
    id VARCHAR(64) NOT NULL,
    change_id VARCHAR(36) NOT NULL,
    made_ms BIGINT NOT NULL,
    author VARCHAR(128) NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX plan_change_id ON plan (change_id);
