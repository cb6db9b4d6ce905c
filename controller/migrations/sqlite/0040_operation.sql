-- Operations: commands and scripts that run once on a selection.
CREATE TABLE operation (
    id VARCHAR(36) NOT NULL,
    number BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    spec TEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    principal VARCHAR(200) NOT NULL,
    request_key VARCHAR(200),
    again_of VARCHAR(36),
    created_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    cancelled_ms BIGINT,
    cancelled_by VARCHAR(200),
    output_seq BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX operation_number ON operation (number);
CREATE UNIQUE INDEX operation_request_key ON operation (request_key);
CREATE INDEX operation_state ON operation (state);
