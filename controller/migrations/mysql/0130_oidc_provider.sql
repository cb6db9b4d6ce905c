-- Identity providers; the client's secret is sealed under a key that is not in the store.
CREATE TABLE oidc_provider (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    spec LONGTEXT NOT NULL,
    sealed LONGTEXT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY oidc_provider_name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
