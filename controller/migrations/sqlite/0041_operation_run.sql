-- The runs of operations: one for each node of the selection.
CREATE TABLE operation_run (
    run VARCHAR(36) NOT NULL,
    operation VARCHAR(36) NOT NULL,
    place BIGINT NOT NULL,
    node VARCHAR(36) NOT NULL,
    node_name VARCHAR(253) NOT NULL,
    state VARCHAR(16) NOT NULL,
    detail TEXT NOT NULL,
    work TEXT NOT NULL,
    told_ms BIGINT,
    has_begun BIGINT NOT NULL,
    has_result BIGINT NOT NULL,
    started_ms BIGINT,
    ended_ms BIGINT,
    exit_status BIGINT,
    output_bytes BIGINT NOT NULL,
    output_hash VARCHAR(64),
    output_state VARCHAR(16) NOT NULL,
    PRIMARY KEY (run)
);
CREATE UNIQUE INDEX operation_run_operation_place ON operation_run (operation, place);
CREATE INDEX operation_run_state ON operation_run (state);
CREATE INDEX operation_run_output_state ON operation_run (output_state);
CREATE INDEX operation_run_node ON operation_run (node);
