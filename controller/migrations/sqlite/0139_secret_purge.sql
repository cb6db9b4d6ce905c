-- When the value of a secret was destroyed; its row stays, so that history says so.
ALTER TABLE secret_value ADD COLUMN purged_ms BIGINT;
CREATE INDEX secret_value_object ON secret_value (object);
