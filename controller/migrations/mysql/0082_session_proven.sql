-- When password and code were last entered in a session.
ALTER TABLE session ADD COLUMN proven_ms BIGINT NOT NULL DEFAULT 0;
