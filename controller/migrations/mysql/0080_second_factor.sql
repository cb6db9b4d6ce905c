-- What an authenticator and the controller share; sealed under a key that is not in the store.
CREATE TABLE second_factor (
    user_id VARCHAR(36) NOT NULL,
    sealed VARCHAR(255) NOT NULL,
    created_ms BIGINT NOT NULL,
    confirmed_ms BIGINT,
    last_step BIGINT NOT NULL,
    PRIMARY KEY (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
