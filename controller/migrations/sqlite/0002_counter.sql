-- Sequences, drawn inside the transaction that uses them: event, audit, change.
CREATE TABLE counter (
    name VARCHAR(64) NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name)
);
