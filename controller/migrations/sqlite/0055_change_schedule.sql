-- When a planned change is to be applied, and by whose order.
CREATE TABLE change_schedule (
    change_id VARCHAR(36) NOT NULL,
    plan_id VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL,
    at_ms BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    body TEXT NOT NULL,
    principal VARCHAR(255) NOT NULL,
    user_id VARCHAR(36) NOT NULL,
    token_id VARCHAR(36),
    reason TEXT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (change_id)
);
