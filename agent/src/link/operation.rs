//! Answers what a controller asks on streams of its own.

use std::{sync::Arc, time::Duration};

use lampas_shared::error::{Chain, Fault};
use lampas_wire::{Message, Reply, Request, encode};
use quinn::{RecvStream, SendStream};
use tokio::time::timeout;
use tracing::debug;

use super::{Reconciler, exchange::read_message};

/// For the request to arrive: a plan of 16 MiB at a window a round trip.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// For the work. A plan reads the disk; the controller has its own, shorter limit.
const WORK_LIMIT: Duration = Duration::from_secs(120);
/// For the answer to be taken.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Serves one operation to its end. Ends early when the controller resets the stream.
pub(super) async fn serve(reconciler: Arc<dyn Reconciler>, mut send: SendStream, mut recv: RecvStream) {
    let answer = match timeout(REQUEST_LIMIT, read_message(&mut recv)).await {
        Ok(Ok(Message::Request(request))) if crate::operation::is_of_runs(&request) => {
            return crate::operation::serve(reconciler.runs(), *request, send).await;
        }
        Ok(Ok(Message::Request(request))) => {
            let stopped = send.stopped();
            // Both arms are cancel-safe: an answer that nobody waits for is dropped with its work.
            tokio::select! {
                answer = work(&*reconciler, *request) => Message::Reply(Box::new(answer)),
                _ = stopped => {
                    debug!("the controller cancelled an operation");
                    return;
                }
            }
        }
        Ok(Ok(other)) => unknown(&format!("{:?} is not an operation", other.kind())),
        Ok(Err(error)) => unknown(&Chain(&error).to_string()),
        Err(_) => return,
    };
    let bytes = encode(&answer).or_else(|error| {
        encode(&Message::Fault(Fault::lasting(
            "wire.too_large",
            format!("the answer can't be sent: {}", Chain(&error)),
        )))
    });
    if let Ok(bytes) = bytes
        && let Ok(Ok(())) = timeout(ANSWER_LIMIT, send.write_all(&bytes)).await
    {
        // Fails only when the controller has stopped listening.
        let _ = send.finish();
    }
}

async fn work(reconciler: &dyn Reconciler, request: Request) -> Reply {
    match request {
        Request::Plan(state) => Reply::Plan(limited(reconciler.plan(state)).await),
        Request::Read(target) => Reply::Read(limited(reconciler.read(target)).await),
        Request::Revert(target) => Reply::Done(limited(reconciler.revert(target)).await),
        Request::Retry => Reply::Done(limited(reconciler.retry()).await),
        Request::Scan(ask) => Reply::Scan(limited(reconciler.scan(ask)).await),
        Request::Manage => Reply::Done(limited(reconciler.manage()).await),
        Request::Eject => Reply::Eject(limited(reconciler.eject()).await),
        Request::Purge(values) => Reply::Purged(limited(reconciler.purge(values)).await),
        Request::Check(draft) => Reply::Check(limited(reconciler.check(draft)).await),
        // Served before; see [`crate::operation::serve`].
        Request::Run(_)
        | Request::RunStatus(_)
        | Request::CancelRun(_)
        | Request::Output { .. }
        | Request::ForgetRun(_) => Reply::Done(Err(Fault::lasting("unsupported", "this agent runs no operations"))),
    }
}

async fn limited<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(WORK_LIMIT, work).await.unwrap_or_else(|_| {
        Err(Fault::passing("agent.busy", format!("the agent was not done within {} s", WORK_LIMIT.as_secs())))
    })
}

fn unknown(what: &str) -> Message {
    Message::Fault(Fault::lasting("wire.unknown", what))
}
