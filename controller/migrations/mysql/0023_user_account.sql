-- Who may sign in.
CREATE TABLE user_account (
    id VARCHAR(36) NOT NULL,
    login VARCHAR(64) NOT NULL,
    display_name VARCHAR(128) NOT NULL,
    preset VARCHAR(16) NOT NULL,
    password_hash TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    disabled_ms BIGINT,
    signed_in_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE KEY user_account_login (login)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
