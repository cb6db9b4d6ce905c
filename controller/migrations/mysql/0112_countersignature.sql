-- Heads of the audit, signed by nodes.
CREATE TABLE countersignature (
    node VARCHAR(36) NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    hash VARCHAR(64) NOT NULL,
    signed_ms BIGINT NOT NULL,
    signature VARCHAR(1024) NOT NULL,
    public_key VARCHAR(512) NOT NULL,
    contradicts_seq BIGINT,
    contradicts_hash VARCHAR(64),
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (node, epoch, seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
