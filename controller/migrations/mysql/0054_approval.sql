-- What somebody said of the plan of a change, or is asked to say.
CREATE TABLE approval (
    change_id VARCHAR(36) NOT NULL,
    plan_id VARCHAR(64) NOT NULL,
    verdict VARCHAR(16) NOT NULL,
    needs MEDIUMTEXT NOT NULL,
    author VARCHAR(128) NOT NULL,
    reason TEXT NOT NULL,
    note TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (change_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
