//! Answers what a controller asks about runs.

use std::{sync::Arc, time::Duration};

use lampas_shared::{
    error::Fault,
    id::RunId,
    operation::{OutputPart, RunStatus},
};
use lampas_wire::{Message, Reply, Request, encode};
use quinn::SendStream;
use tokio::time::timeout;
use tracing::debug;

use super::Runs;

/// For a piece of output to be taken; the stream's flow control makes the agent wait, not hold.
const TAKE_LIMIT: Duration = Duration::from_secs(120);
/// How much output is read at once.
const READ_BYTES: usize = 256 << 10;
/// How often new output is looked for while somebody listens.
const LOOK: Duration = Duration::from_millis(100);
/// After so much output of a run that goes on, its listener gets no more than [`READ_BYTES`] each [`PACE`]: what is written
/// faster than that is mostly dropped in the end.
const FAST_BYTES: u64 = 2 << 20;
const PACE: Duration = Duration::from_millis(250);

/// Returns whether a request is about runs.
pub(crate) fn is_of_runs(request: &Request) -> bool {
    matches!(
        request,
        Request::Run(_)
            | Request::RunStatus(_)
            | Request::CancelRun(_)
            | Request::Output { .. }
            | Request::ForgetRun(_)
    )
}

/// Serves one request about runs to its end.
///
/// # Cancellation
/// A run that was put down stays so; a listener's output can be asked for again from where it was.
pub(crate) async fn serve(runs: Option<Arc<Runs>>, request: Request, mut send: SendStream) {
    let Some(runs) = runs else {
        let fault = Fault::lasting("unsupported", "this agent runs no operations");
        write(&mut send, &Message::Fault(fault)).await;
        let _ = send.finish();
        return;
    };
    let reply = match request {
        Request::Run(order) => Reply::Run(runs.start(order).await),
        Request::RunStatus(run) => Reply::Run(runs.status(run).await),
        Request::CancelRun(run) => Reply::Run(runs.cancel(run).await),
        Request::ForgetRun(run) => Reply::Done(runs.forget(run).await),
        Request::Output { run, offset } => {
            stream(&runs, run, offset, &mut send).await;
            return;
        }
        _ => Reply::Run(Ok(RunStatus::Unknown)),
    };
    if write(&mut send, &Message::Reply(Box::new(reply))).await {
        // Fails only when the controller has stopped listening.
        let _ = send.finish();
    }
}

/// Sends output as it comes, until the run is over or nobody listens.
async fn stream(runs: &Arc<Runs>, run: RunId, mut offset: u64, send: &mut SendStream) {
    loop {
        let part = match runs.output(run, offset, READ_BYTES).await {
            Ok((chunks, None)) => {
                let is_quiet = chunks.is_empty();
                for chunk in chunks {
                    offset = chunk.offset + chunk.bytes.len() as u64;
                    if !write(send, &Message::Reply(Box::new(Reply::Output(Ok(OutputPart::Chunk(chunk)))))).await {
                        return;
                    }
                }
                let pause = if is_quiet {
                    LOOK
                } else if offset > FAST_BYTES {
                    PACE
                } else {
                    continue;
                };
                let stopped = send.stopped();
                // Both arms are cancel-safe.
                tokio::select! {
                    () = tokio::time::sleep(pause) => continue,
                    _ = stopped => {
                        debug!(run.id = %run, "nobody listens to a run any more");
                        return;
                    }
                }
            }
            Ok((_, Some(total))) => Ok(OutputPart::End(total)),
            Err(fault) => Err(fault),
        };
        if write(send, &Message::Reply(Box::new(Reply::Output(part)))).await {
            let _ = send.finish();
        }
        return;
    }
}

async fn write(send: &mut SendStream, message: &Message) -> bool {
    let Ok(bytes) = encode(message) else { return false };
    matches!(timeout(TAKE_LIMIT, send.write_all(&bytes)).await, Ok(Ok(())))
}
