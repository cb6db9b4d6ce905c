-- Messages: the outbox, and afterwards the log of deliveries. The unique key says what a message is about and for whom,
-- so that it is made once. What it says is dropped when it was sent.
CREATE TABLE mail_message (
    id VARCHAR(36) NOT NULL,
    once_key VARCHAR(200) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    user_id VARCHAR(36),
    address VARCHAR(254) NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    html TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    tried_ms BIGINT,
    answer TEXT NOT NULL,
    claim VARCHAR(80),
    claim_ms BIGINT,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX mail_message_once ON mail_message (once_key);
CREATE INDEX mail_message_due ON mail_message (state, due_ms);
CREATE INDEX mail_message_user ON mail_message (user_id, created_ms);
