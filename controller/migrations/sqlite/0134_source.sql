-- Git sources: repositories whose manifests the controller reads. Scopes hold nodes by their ids.
CREATE TABLE source (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(64) NOT NULL UNIQUE,
    scope VARCHAR(400) NOT NULL,
    settings TEXT NOT NULL,
    sealed TEXT,
    user_id VARCHAR(36) NOT NULL,
    permissions TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    status TEXT NOT NULL,
    commit_id VARCHAR(64),
    change_id VARCHAR(36),
    draft_key VARCHAR(64),
    due_ms BIGINT NOT NULL,
    claim VARCHAR(80),
    claim_ms BIGINT
);
