-- Acts by principals, each bound to the one before it by its hash.
CREATE TABLE audit (
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    principal VARCHAR(128) NOT NULL,
    from_addr VARCHAR(64) NOT NULL,
    act VARCHAR(64) NOT NULL,
    object VARCHAR(512) NOT NULL,
    reason TEXT NOT NULL,
    result VARCHAR(64) NOT NULL,
    details TEXT NOT NULL,
    prev_hash VARCHAR(64) NOT NULL,
    hash VARCHAR(64) NOT NULL,
    PRIMARY KEY (seq)
);
CREATE INDEX audit_act_seq ON audit (act, seq);
CREATE INDEX audit_principal_seq ON audit (principal, seq);
