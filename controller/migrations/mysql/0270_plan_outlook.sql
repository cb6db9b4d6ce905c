-- Why a plan doesn't simply wait to be applied, as lists show it.
ALTER TABLE plan ADD COLUMN outlook VARCHAR(16);
