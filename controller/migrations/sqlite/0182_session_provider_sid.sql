-- What the provider calls its own session, so that it can end ours with it.
ALTER TABLE session ADD COLUMN provider_sid VARCHAR(255);
