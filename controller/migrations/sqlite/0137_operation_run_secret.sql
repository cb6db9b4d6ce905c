-- The secrets that runs are given by reference.
CREATE TABLE operation_run_secret (
    run VARCHAR(36) NOT NULL,
    variable VARCHAR(64) NOT NULL,
    secret VARCHAR(128) NOT NULL,
    value VARCHAR(36) NOT NULL,
    PRIMARY KEY (run, variable)
);
CREATE INDEX operation_run_secret_value ON operation_run_secret (value);
