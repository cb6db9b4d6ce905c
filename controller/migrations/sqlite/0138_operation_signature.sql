-- Operations that need an operator's signature.
CREATE TABLE operation_signature (
    operation VARCHAR(36) NOT NULL PRIMARY KEY,
    until_ms BIGINT NOT NULL,
    serial BIGINT,
    signed_ms BIGINT
);
