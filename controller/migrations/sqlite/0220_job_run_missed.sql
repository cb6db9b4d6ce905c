-- Overview asks for what did not run; that is little of what did.
CREATE INDEX job_run_outcome_started_ms ON job_run (outcome, started_ms);
