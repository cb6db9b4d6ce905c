//! Desired state to text and back: crontab, hosts, schedules.
