-- Certificates of nodes and controllers that the signer issued.
CREATE TABLE certificate (
    serial VARCHAR(64) NOT NULL,
    node VARCHAR(36),
    subject VARCHAR(255) NOT NULL,
    issuer VARCHAR(255) NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    not_before_ms BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    issued_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    reason VARCHAR(255) NOT NULL,
    PRIMARY KEY (serial),
    KEY certificate_node (node),
    KEY certificate_fingerprint (fingerprint)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
