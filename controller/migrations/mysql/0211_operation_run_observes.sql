-- Whether a run was passed over because its node only observes: it counts neither for nor against the operation.
ALTER TABLE operation_run ADD COLUMN observes BIGINT NOT NULL DEFAULT 0;
