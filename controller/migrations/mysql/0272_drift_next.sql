-- When a node that did not take what was decided about its drift is asked again.
ALTER TABLE drift ADD COLUMN next_ms BIGINT;
