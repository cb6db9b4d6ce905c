-- What who waits has instead: the revision before the change's, 0 for none.
CREATE TABLE rollout_before (
    change_id VARCHAR(36) NOT NULL,
    object VARCHAR(36) NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (change_id, object)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
