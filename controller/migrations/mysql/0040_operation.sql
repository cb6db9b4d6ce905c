-- Operations: commands and scripts that run once on a selection.
CREATE TABLE operation (
    id VARCHAR(36) NOT NULL,
    number BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    spec LONGTEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    principal VARCHAR(200) NOT NULL,
    request_key VARCHAR(200),
    again_of VARCHAR(36),
    created_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    cancelled_ms BIGINT,
    cancelled_by VARCHAR(200),
    output_seq BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY operation_number (number),
    UNIQUE KEY operation_request_key (request_key),
    KEY operation_state (state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
