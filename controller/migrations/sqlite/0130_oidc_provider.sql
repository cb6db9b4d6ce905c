-- Identity providers; the client's secret is sealed under a key that is not in the store.
CREATE TABLE oidc_provider (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    spec TEXT NOT NULL,
    sealed TEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX oidc_provider_name ON oidc_provider (name);
