-- Whether generated lines of hosts entries go on naming a node that was revoked while something guarded who has them.
ALTER TABLE node ADD COLUMN stays_named BIGINT NOT NULL DEFAULT 0;
