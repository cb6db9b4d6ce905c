//! Streams beside the control stream: the outbox, and requests with one answer each (blobs, secrets, renewals).

use std::time::Duration;

use lampas_runtime::identity::CertInfo;
use lampas_shared::{error::Fault, id::NodeId};
use lampas_wire::{BlobRequest, Kind, Message, RenewRequest, Reply, SecretRequest};
use quinn::{RecvStream, SendStream};

use super::super::{
    registry::Handle,
    server::Shared,
    source::Shown,
    stream::{StreamError, read_kind, read_message, write_message},
};

/// For one request and its answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// For a last answer to arrive.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub(super) async fn serve_stream(
    shared: &Shared,
    handle: &Handle,
    node: NodeId,
    cert: CertInfo,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), StreamError> {
    let (kind, head) = read_kind(&mut recv, REQUEST_LIMIT).await?;
    match Kind::from_u16(kind) {
        Some(Kind::Report | Kind::Lost | Kind::RunReport | Kind::ProbeReport) => {
            handle.call(|inbox| inbox.outbox = Some((send, recv, head)));
            Ok(())
        }
        Some(Kind::BlobRequest) => {
            let request = read_message(&mut recv, &head, &[Kind::BlobRequest], REQUEST_LIMIT).await?;
            let Message::BlobRequest(BlobRequest { hash }) = request else { return Err(StreamError::Ended) };
            let _turn = shared.blobs.acquire().await.expect("the semaphore is never closed");
            let missing = || Fault::lasting("blob.missing", format!("no content {hash} is meant for this node"));
            let found = shared.parts.source.blob(node, hash).await;
            let reply = found.and_then(|blob| blob.ok_or_else(missing));
            write_message(&mut send, &Message::BlobReply(reply), REQUEST_LIMIT).await
        }
        Some(Kind::SecretRequest) => {
            let request = read_message(&mut recv, &head, &[Kind::SecretRequest], REQUEST_LIMIT).await?;
            let Message::SecretRequest(SecretRequest { value, key }) = request else { return Err(StreamError::Ended) };
            let _turn = shared.blobs.acquire().await.expect("the semaphore is never closed");
            let missing = || Fault::lasting("secret.missing", "no such value of a secret is meant for this node");
            let found = shared.parts.source.secret(node, value, key).await;
            let reply = found.and_then(|sealed| sealed.ok_or_else(missing));
            write_message(&mut send, &Message::SecretReply(reply), REQUEST_LIMIT).await
        }
        Some(Kind::RenewRequest) => {
            let request = read_message(&mut recv, &head, &[Kind::RenewRequest], REQUEST_LIMIT).await?;
            let Message::RenewRequest(RenewRequest { csr }) = request else { return Err(StreamError::Ended) };
            let from = handle.connection.remote_address();
            let shown = Shown::of(&handle.connection, cert);
            let reply = shared.parts.admission.renew(node, shown, csr, from).await;
            write_message(&mut send, &Message::RenewReply(Box::new(reply)), REQUEST_LIMIT).await
        }
        Some(Kind::LeaveRequest) => {
            read_message(&mut recv, &head, &[Kind::LeaveRequest], REQUEST_LIMIT).await?;
            let left = shared.parts.source.leave(node).await;
            let is_over = left.is_ok();
            let told = write_message(&mut send, &Message::Reply(Box::new(Reply::Done(left))), REQUEST_LIMIT).await;
            if is_over {
                // The answer first: with the connection it would be lost.
                let _ = tokio::time::timeout(ANSWER_LIMIT, send.stopped()).await;
                shared.gate.registry.close(node, "ejected on the node");
            }
            told
        }
        _ => {
            let fault =
                Fault::lasting("wire.unknown", format!("streams that begin with kind {kind} are not known here"));
            write_message(&mut send, &Message::Fault(fault), REQUEST_LIMIT).await
        }
    }
}
