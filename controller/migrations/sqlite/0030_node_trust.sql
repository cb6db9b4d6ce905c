-- The hash of the authorities that a node last said it trusts; empty before it said any.
ALTER TABLE node ADD COLUMN trust VARCHAR(64) NOT NULL DEFAULT '';
