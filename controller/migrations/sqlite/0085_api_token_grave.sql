-- Whether grave acts may be done with a token.
ALTER TABLE api_token ADD COLUMN is_grave BIGINT NOT NULL DEFAULT 0;
