-- The machine that lampasctl is signed in on; absent for browsers.
ALTER TABLE session ADD COLUMN machine VARCHAR(255);
