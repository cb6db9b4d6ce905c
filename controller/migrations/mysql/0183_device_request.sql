-- What machines without a browser ask a person to confirm; a row goes when it is taken, refused or over.
CREATE TABLE device_request (
    device_hash VARCHAR(64) NOT NULL,
    user_code VARCHAR(16) NOT NULL,
    purpose VARCHAR(16) NOT NULL,
    machine VARCHAR(255) NOT NULL,
    agent VARCHAR(255) NOT NULL,
    from_addr VARCHAR(64) NOT NULL,
    ttl_secs BIGINT NOT NULL,
    asked_by VARCHAR(36),
    state VARCHAR(16) NOT NULL,
    user_id VARCHAR(36),
    identity_id VARCHAR(36),
    provider_sid VARCHAR(255),
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    polled_ms BIGINT NOT NULL,
    interval_ms BIGINT NOT NULL,
    PRIMARY KEY (device_hash),
    UNIQUE KEY device_request_user_code (user_code)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
