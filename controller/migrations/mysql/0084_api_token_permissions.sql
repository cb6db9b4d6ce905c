-- The permissions that a token is held to, as JSON; nothing: all of its preset.
ALTER TABLE api_token ADD COLUMN permissions VARCHAR(512);
