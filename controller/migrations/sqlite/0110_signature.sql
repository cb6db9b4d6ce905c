-- Operators' signatures over root code.
CREATE TABLE signature (
    id VARCHAR(36) NOT NULL,
    serial BIGINT NOT NULL,
    purpose VARCHAR(500) NOT NULL,
    statement TEXT NOT NULL,
    armour TEXT NOT NULL,
    change_id VARCHAR(36),
    author VARCHAR(128) NOT NULL,
    expires_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX signature_serial ON signature (serial);
CREATE INDEX signature_expires ON signature (expires_ms);
CREATE INDEX signature_change ON signature (change_id);
