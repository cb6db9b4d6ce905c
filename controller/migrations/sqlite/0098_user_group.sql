-- Groups of the dashboard's users.
CREATE TABLE user_group (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(64) NOT NULL,
    note VARCHAR(800) NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);
