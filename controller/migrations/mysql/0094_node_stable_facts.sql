-- What a node says of itself as far as it may stand in texts: host name, release and architecture, by lines.
ALTER TABLE node ADD COLUMN stable_facts VARCHAR(400) NOT NULL DEFAULT '';
