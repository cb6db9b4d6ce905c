-- Operations that need an operator's signature.
CREATE TABLE operation_signature (
    operation VARCHAR(36) NOT NULL PRIMARY KEY,
    until_ms BIGINT NOT NULL,
    serial BIGINT,
    signed_ms BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
