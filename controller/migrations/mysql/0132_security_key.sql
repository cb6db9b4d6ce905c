-- Security keys and passkeys: the public half of each key pair, and how often its device has signed with it.
CREATE TABLE security_key (
    id VARCHAR(36) NOT NULL,
    user_id VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    rp_id VARCHAR(253) NOT NULL,
    credential_hash VARCHAR(64) NOT NULL,
    credential_id VARCHAR(1400) NOT NULL,
    public_key VARCHAR(2048) NOT NULL,
    sign_count BIGINT NOT NULL,
    is_passkey BIGINT NOT NULL,
    transports VARCHAR(255) NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms BIGINT,
    suspect_ms BIGINT,
    PRIMARY KEY (id),
    UNIQUE KEY security_key_by_credential (credential_hash),
    KEY security_key_by_user (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
