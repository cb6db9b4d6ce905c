-- The identity at a provider that opened the session.
ALTER TABLE session ADD COLUMN identity_id VARCHAR(36);
