-- Acts by principals, each bound to the one before it by its hash.
CREATE TABLE audit (
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    principal VARCHAR(128) NOT NULL,
    from_addr VARCHAR(64) NOT NULL,
    act VARCHAR(64) NOT NULL,
    object VARCHAR(512) NOT NULL,
    reason MEDIUMTEXT NOT NULL,
    result VARCHAR(64) NOT NULL,
    details MEDIUMTEXT NOT NULL,
    prev_hash VARCHAR(64) NOT NULL,
    hash VARCHAR(64) NOT NULL,
    PRIMARY KEY (seq),
    KEY audit_act_seq (act, seq),
    KEY audit_principal_seq (principal, seq)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
