-- When a node was ejected; its history stays.
ALTER TABLE node ADD COLUMN ejected_ms BIGINT;
