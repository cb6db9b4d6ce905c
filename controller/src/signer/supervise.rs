//! Keeps a signer of the controller's own running, where no other is configured.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use lampas_runtime::{Tasks, backoff::Backoff, random};
use thiserror::Error;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tracing::{error, info};

/// A signer that ran so long is not in a loop of failures.
const STEADY: Duration = Duration::from_secs(60);

/// How long a signer has to end after its standard input did.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why the signer's process can't be started.
#[derive(Debug, Error)]
#[error("starting the signer {program}")]
pub struct SuperviseError {
    /// What was run.
    pub program: String,
    /// Why it doesn't run.
    pub source: std::io::Error,
}

/// Starts `PROGRAM signer --dir DIR --socket SOCKET --lifeline`, and starts it again whenever it ends, until the tasks
/// stop. Its standard input is a pipe that ends with this process, and so does it.
///
/// # Errors
/// When it can't be started the first time.
pub fn supervise(tasks: &Tasks, program: &Path, dir: &Path, socket: &Path) -> Result<(), SuperviseError> {
    let start = starter(program.to_owned(), dir.to_owned(), socket.to_owned());
    let mut child = start()?;
    // Taken out of the child: its `wait` would close the pipe, and the signer would end at once.
    let mut lifeline = child.stdin.take();
    let stopping = tasks.stopping();
    tasks.spawn("signer supervisor", async move {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        loop {
            let started = Instant::now();
            // Both arms are cancel-safe: a child that is not waited for is killed when it is dropped.
            tokio::select! {
                ended = child.wait() => {
                    let status = ended.map(|s| s.to_string()).unwrap_or_else(|e| e.to_string());
                    error!(%status, "the signer ended; it is started again");
                }
                () = stopping.cancelled() => {
                    drop(lifeline.take());
                    if timeout(END_LIMIT, child.wait()).await.is_err() {
                        error!("the signer did not end; it is killed");
                    }
                    return;
                }
            }
            if started.elapsed() > STEADY {
                backoff.reset();
            }
            child = loop {
                let pause = backoff.next_delay(u32::from_le_bytes(random::bytes()));
                // Both arms are cancel-safe.
                tokio::select! {
                    () = sleep(pause) => {}
                    () = stopping.cancelled() => return,
                }
                match start() {
                    Ok(child) => break child,
                    Err(error) => error!(error = %lampas_shared::error::Chain(&error), "the signer can't be started"),
                }
            };
            lifeline = child.stdin.take();
            info!("the signer runs again");
        }
    });
    Ok(())
}

fn starter(program: PathBuf, dir: PathBuf, socket: PathBuf) -> impl Fn() -> Result<Child, SuperviseError> + Send {
    move || {
        Command::new(&program)
            .arg("signer")
            .arg("--dir")
            .arg(&dir)
            .arg("--socket")
            .arg(&socket)
            .arg("--lifeline")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| SuperviseError { program: program.display().to_string(), source })
    }
}
