-- Uses of enrolment tokens: the node and the key that each let in.
CREATE TABLE enrol_use (
    token VARCHAR(36) NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    node VARCHAR(36) NOT NULL,
    used_ms BIGINT NOT NULL,
    used_from VARCHAR(64) NOT NULL,
    PRIMARY KEY (token, key_hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
