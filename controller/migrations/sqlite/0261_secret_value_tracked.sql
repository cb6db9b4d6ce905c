-- Whether it is put down who was given a value. Of those from before, every node may have been.
ALTER TABLE secret_value ADD COLUMN is_tracked BIGINT NOT NULL DEFAULT 0;
