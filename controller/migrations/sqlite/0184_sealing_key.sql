-- Which key the values in the store are sealed under, by a check value that tells nothing of it, and who said so first.
CREATE TABLE sealing_key (
    name VARCHAR(64) NOT NULL,
    check_value VARCHAR(64) NOT NULL,
    controller_id VARCHAR(36) NOT NULL,
    controller_name VARCHAR(255) NOT NULL,
    made_ms BIGINT NOT NULL,
    PRIMARY KEY (name)
);
