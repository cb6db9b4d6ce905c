-- Who users are at identity providers. Without a subject it is an invitation that nobody took up yet.
CREATE TABLE external_identity (
    id VARCHAR(36) NOT NULL,
    user_id VARCHAR(36) NOT NULL,
    provider_id VARCHAR(36) NOT NULL,
    subject VARCHAR(255),
    invite_hash VARCHAR(64),
    invited_until_ms BIGINT,
    shown VARCHAR(255) NOT NULL,
    is_maker BIGINT NOT NULL,
    memberships TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms BIGINT,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX external_identity_subject ON external_identity (provider_id, subject);
CREATE UNIQUE INDEX external_identity_invite ON external_identity (invite_hash);
CREATE INDEX external_identity_user ON external_identity (user_id);
