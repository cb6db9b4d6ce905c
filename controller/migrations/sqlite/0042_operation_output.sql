-- What runs of operations wrote: pieces in the order in which they came.
CREATE TABLE operation_output (
    operation VARCHAR(36) NOT NULL,
    seq BIGINT NOT NULL,
    run VARCHAR(36) NOT NULL,
    start BIGINT NOT NULL,
    stream VARCHAR(8) NOT NULL,
    after_ms BIGINT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (operation, seq)
);
CREATE UNIQUE INDEX operation_output_run_start ON operation_output (run, start);
