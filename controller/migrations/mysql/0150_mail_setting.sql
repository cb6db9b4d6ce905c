-- The mail server and the morning mail, in one row; the password is sealed under a key that is not in the store.
-- `seen_seq` is the last event that messages were made of, `morning_ms` since when the morning mail stands as it does.
CREATE TABLE mail_setting (
    name VARCHAR(8) NOT NULL,
    server MEDIUMTEXT NOT NULL,
    morning MEDIUMTEXT NOT NULL,
    morning_ms BIGINT NOT NULL,
    sealed MEDIUMTEXT,
    revision BIGINT NOT NULL,
    seen_seq BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
