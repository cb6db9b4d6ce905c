-- Where users get their mail, and which.
CREATE TABLE mail_account (
    user_id VARCHAR(36) NOT NULL,
    address VARCHAR(254),
    rollouts VARCHAR(8) NOT NULL,
    approvals BIGINT NOT NULL,
    morning BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
