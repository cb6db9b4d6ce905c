-- Whether a node only observes: nothing is written there until an operator takes it over.
ALTER TABLE node ADD COLUMN observe BIGINT NOT NULL DEFAULT 0;
