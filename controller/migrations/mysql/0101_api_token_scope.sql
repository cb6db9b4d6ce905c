-- The scope that a token is held to; nothing: wherever its owner may.
ALTER TABLE api_token ADD COLUMN scope VARCHAR(400);
