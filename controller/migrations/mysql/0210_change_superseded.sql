-- Changes that were planned and can never be applied: what they are about was changed meanwhile.
CREATE TABLE change_superseded (
    change_id VARCHAR(36) NOT NULL,
    by_number BIGINT,
    why VARCHAR(1000) NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (change_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
