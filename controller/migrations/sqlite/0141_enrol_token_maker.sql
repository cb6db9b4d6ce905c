-- Who made an enrolment token with rights over a part of the fleet: they are asked again when it is used.
ALTER TABLE enrol_token ADD COLUMN maker VARCHAR(36);
