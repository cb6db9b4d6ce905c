-- The hash of what a merge decided that shall stand there: another state than that one settles nothing.
ALTER TABLE drift ADD COLUMN wanted_hash VARCHAR(64);
