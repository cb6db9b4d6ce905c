-- The controllers that work on this store, and when each was last heard.
CREATE TABLE controller (
    id VARCHAR(36) NOT NULL,
    seen_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
