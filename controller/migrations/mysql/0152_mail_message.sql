-- Messages: the outbox, and afterwards the log of deliveries. The unique key says what a message is about and for whom,
-- so that it is made once. What it says is dropped when it was sent.
CREATE TABLE mail_message (
    id VARCHAR(36) NOT NULL,
    once_key VARCHAR(200) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    user_id VARCHAR(36),
    address VARCHAR(254) NOT NULL,
    subject MEDIUMTEXT NOT NULL,
    body MEDIUMTEXT NOT NULL,
    html MEDIUMTEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    tried_ms BIGINT,
    answer MEDIUMTEXT NOT NULL,
    claim VARCHAR(80),
    claim_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE KEY mail_message_once (once_key),
    KEY mail_message_due (state, due_ms),
    KEY mail_message_user (user_id, created_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
