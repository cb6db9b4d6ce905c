-- When the value of a secret was destroyed; its row stays, so that history says so.
ALTER TABLE secret_value ADD COLUMN purged_ms BIGINT, ADD KEY secret_value_object (object);
