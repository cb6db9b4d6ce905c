-- What a probe measured, when that is a number: gates compare with it.
ALTER TABLE operation_run ADD COLUMN measured VARCHAR(40);
