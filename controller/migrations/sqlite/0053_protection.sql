-- Scopes in which a change needs an approval.
CREATE TABLE protection (
    id VARCHAR(36) NOT NULL,
    scope VARCHAR(400) NOT NULL,
    reason TEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);
