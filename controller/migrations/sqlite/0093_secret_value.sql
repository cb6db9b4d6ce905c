-- Values of secrets, sealed under a key that is kept outside of the store.
CREATE TABLE secret_value (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    object VARCHAR(36) NOT NULL,
    sealed TEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    at_ms BIGINT NOT NULL
);
