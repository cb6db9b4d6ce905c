-- Drafts that are planned, approved and applied together.
CREATE TABLE changes (
    id VARCHAR(36) NOT NULL,
    number BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    author VARCHAR(128) NOT NULL,
    reason TEXT NOT NULL,
    request_key VARCHAR(128),
    reverts VARCHAR(36),
    plan_id VARCHAR(64),
    approver VARCHAR(128),
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    applied_ms BIGINT,
    done_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE (number),
    UNIQUE (request_key)
);
CREATE INDEX changes_state_number ON changes (state, number);
