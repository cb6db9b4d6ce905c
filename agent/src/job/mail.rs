//! The mail of a job in a user's crontab that names its own addressee.
//!
//! Cron takes `MAILTO` from the crontab, where it would hold for the foreign lines below it too. So the wrapper sends
//! what the job wrote, in cron's words and through the same program, and cron hears nothing.

use std::{
    io::{self, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use lampas_shared::host::{CronJob, CronTable};

/// What cron on Debian sends mail with; without it cron, too, discards what jobs write.
const SENDMAIL: &str = "/usr/sbin/sendmail";

/// Where the output of a job goes. Clones are the same mail.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    letter: Arc<Mutex<Letter>>,
}

#[derive(Debug)]
struct Letter {
    program: String,
    head: String,
    /// `None` before the first byte, and when nobody takes it.
    child: Option<Child>,
    is_begun: bool,
}

impl Mail {
    /// Returns the mail of a job whose crontab can't say whom to tell; `None` leaves it to cron.
    pub(super) fn of(job: &CronJob) -> Option<Self> {
        Self::with(SENDMAIL, job)
    }

    fn with(program: &str, job: &CronJob) -> Option<Self> {
        let to = job.mailto.as_ref().filter(|_| job.table == CronTable::User)?;
        let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let user = job.user.as_str();
        let command: String = job.command.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        let head = format!(
            "From: {user} (Cron Daemon)\nTo: {to}\nSubject: Cron <{user}@{host}> {command}\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nAuto-Submitted: auto-generated\n\
             Precedence: bulk\n\n"
        );
        // An empty addressee is nobody, as in a crontab.
        let is_begun = to.trim().is_empty();
        let letter = Letter { program: program.to_owned(), head, child: None, is_begun };
        Some(Self { letter: Arc::new(Mutex::new(letter)) })
    }

    /// Ends the letter and waits until it is taken.
    pub(super) fn send(&self) {
        let child = self.letter.lock().unwrap_or_else(PoisonError::into_inner).child.take();
        if let Some(mut child) = child {
            drop(child.stdin.take());
            // What became of it is the mail system's to tell.
            let _ = child.wait();
        }
    }
}

impl Write for Mail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut letter = self.letter.lock().unwrap_or_else(PoisonError::into_inner);
        if !letter.is_begun {
            letter.is_begun = true;
            // The addressee stands in the head, never among the arguments.
            let started = Command::new(&letter.program)
                .args(["-i", "-FCronDaemon", "-oem", "-t"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            letter.child = started.ok();
            let head = letter.head.clone();
            if let Some(pipe) = letter.child.as_mut().and_then(|c| c.stdin.as_mut()) {
                pipe.write_all(head.as_bytes())?;
            }
        }
        if let Some(pipe) = letter.child.as_mut().and_then(|c| c.stdin.as_mut()) {
            pipe.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn job(more: &str) -> CronJob {
        let text = format!(r#"{{"schedule": "* * * * *", "command": "echo 1", "user": "ann"{more}}}"#);
        serde_json::from_str(&text).expect("a job")
    }

    #[test]
    fn only_a_user_job_with_an_addressee_writes_its_own_mail() {
        assert!(Mail::of(&job("")).is_none());
        assert!(Mail::of(&job(r#", "mailto": "ops@example.test""#)).is_none(), "a system file says it to cron");
        assert!(Mail::of(&job(r#", "table": "user""#)).is_none());
        assert!(Mail::of(&job(r#", "table": "user", "mailto": """#)).is_some());
    }

    #[test]
    fn a_letter_is_written_when_there_is_output_and_to_somebody() {
        let dir = tempfile::tempdir().expect("a directory");
        let (program, sent) = (dir.path().join("sendmail"), dir.path().join("sent"));
        std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" > {0}\ncat >> {0}\n", sent.display()))
            .expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let mail = |to: &str| {
            let job = job(&format!(r#", "table": "user", "mailto": "{to}""#));
            Mail::with(&program.display().to_string(), &job).expect("a mail")
        };
        mail("ops@example.test").send();
        let mut nobody = mail("");
        nobody.write_all(b"said\n").expect("takes it");
        nobody.send();
        assert!(!sent.exists(), "nothing was said, or nobody is to be told");

        let mut letter = mail("-oQ/tmp, ops@example.test");
        letter.clone().write_all(b"out\n").expect("takes it");
        letter.write_all(b"err\n").expect("takes it");
        letter.send();
        let text = std::fs::read_to_string(&sent).expect("sent");
        assert!(text.starts_with("-i -FCronDaemon -oem -t\n"), "the addressee is no argument: {text}");
        assert!(text.contains("\nTo: -oQ/tmp, ops@example.test\n") && text.ends_with("\n\nout\nerr\n"), "{text}");
    }
}
