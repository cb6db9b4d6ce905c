-- Whether a second factor must be set up in a session before anything else.
ALTER TABLE session ADD COLUMN must_enrol BIGINT NOT NULL DEFAULT 0;
