-- Runs of cron jobs.
CREATE TABLE job_run (
    run VARCHAR(36) NOT NULL,
    node VARCHAR(36) NOT NULL,
    object VARCHAR(36) NOT NULL,
    account VARCHAR(64) NOT NULL,
    slot_ms BIGINT,
    started_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    outcome VARCHAR(16) NOT NULL,
    outcome_value BIGINT,
    output LONGTEXT NOT NULL,
    output_bytes BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    PRIMARY KEY (run),
    KEY job_run_object_started_ms_run (object, started_ms, run),
    KEY job_run_node_started_ms_run (node, started_ms, run),
    KEY job_run_started_ms_run (started_ms, run)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
