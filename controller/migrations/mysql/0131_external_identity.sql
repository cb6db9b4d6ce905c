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
    memberships LONGTEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE KEY external_identity_subject (provider_id, subject),
    UNIQUE KEY external_identity_invite (invite_hash),
    KEY external_identity_user (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
