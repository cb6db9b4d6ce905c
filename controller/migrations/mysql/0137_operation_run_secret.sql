-- The secrets that runs are given by reference.
CREATE TABLE operation_run_secret (
    run VARCHAR(36) NOT NULL,
    variable VARCHAR(64) NOT NULL,
    secret VARCHAR(128) NOT NULL,
    value VARCHAR(36) NOT NULL,
    PRIMARY KEY (run, variable),
    KEY operation_run_secret_value (value)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
