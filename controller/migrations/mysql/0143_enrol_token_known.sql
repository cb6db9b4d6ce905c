-- The node that was there when such an enrolment token was made for its name.
ALTER TABLE enrol_token ADD COLUMN known_node VARCHAR(36);
