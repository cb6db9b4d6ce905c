-- Operators' signatures over root code.
CREATE TABLE signature (
    id VARCHAR(36) NOT NULL,
    serial BIGINT NOT NULL,
    purpose VARCHAR(500) NOT NULL,
    statement LONGTEXT NOT NULL,
    armour LONGTEXT NOT NULL,
    change_id VARCHAR(36),
    author VARCHAR(128) NOT NULL,
    expires_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY signature_serial (serial),
    KEY signature_expires (expires_ms),
    KEY signature_change (change_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
