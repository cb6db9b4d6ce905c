-- The API token by which such an enrolment token was made.
ALTER TABLE enrol_token ADD COLUMN maker_token VARCHAR(36);
