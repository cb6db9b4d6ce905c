//! `GET /api/v1/events`: events as they are committed, over server-sent events, resumable by sequence.
//!
//! The stream is pulled: events are read from the store when the client has taken the ones before, so that a slow
//! client costs one batch of memory and nothing else. One that takes nothing for [`STALL`] is told where to resume and
//! dropped. While nothing happens a `ping` is sent, which keeps proxies from closing and shows the client that it lives.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    sync::PoisonError,
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{
        IntoResponse,
        sse::{Event as Sse, Sse as Stream},
    },
};
use futures_util::stream;
use lampas_api::EventQuery;
use lampas_shared::{access::Permission, event::Event, id::UserId};
use tokio::{sync::OwnedSemaphorePermit, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    App,
    extract::Query,
    guard::Caller,
    problem::{Answer, Refusal},
};
use crate::{
    access::Reach,
    db::{DbError, Tx},
    live::area,
};

/// How often a silent stream says that it lives; proxies close after 30 to 60 s.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client may leave events that it was offered.
const STALL: Duration = Duration::from_secs(60);

/// How many events are read at a time.
const BATCH: u32 = 200;

struct Tail {
    app: App,
    caller: Caller,
    areas: BTreeSet<String>,
    seq: u64,
    /// What is to be sent, each with the sequence after which it comes again when it isn't.
    ready: VecDeque<(u64, Sse)>,
    woken: watch::Receiver<u64>,
    stopping: CancellationToken,
    offered: Instant,
    checked: Instant,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// One user's share of the streams: a quarter, so that nobody alone shuts the others out.
struct Place {
    app: App,
    user: UserId,
}

impl Place {
    fn take(app: &App, user: UserId) -> Option<Self> {
        let most = (app.config.limits.event_streams / 4).max(1);
        let mut open = app.streams_of.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(user).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { app: app.clone(), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.app.streams_of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

/// Opens a stream.
pub(super) async fn serve(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> Answer<impl IntoResponse> {
    let busy = |_| Refusal::new("busy", "too many event streams are open (limits.event_streams)").retry_after(30);
    let permit = app.streams.clone().try_acquire_owned().map_err(busy)?;
    let user = caller.identity()?.user;
    let place = Place::take(&app, user)
        .ok_or_else(|| Refusal::new("busy", "you have too many event streams open; close some").retry_after(30))?;
    let last_id = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|t| t.trim().parse().ok());
    let asked = last_id.or(query.after);
    let (first, last) = bounds(&app).await?;
    let mut ready = VecDeque::new();
    let seq = match asked {
        // From the future (another store), or from before what is kept: the client must look at everything again.
        Some(seq) if seq > last || seq + 1 < first => {
            let reset = Sse::default().event("reset").id(last.to_string()).data(format!("{{\"seq\":{last}}}"));
            ready.push_back((last, reset));
            last
        }
        Some(seq) => seq,
        None => last,
    };
    let hello = Sse::default().event("hello").id(seq.to_string()).retry(Duration::from_secs(2));
    ready.push_front((seq, hello.data(format!("{{\"seq\":{seq}}}"))));
    let now = Instant::now();
    let tail = Tail {
        woken: app.db.committed(),
        stopping: app.tasks.stopping(),
        areas: query.areas.iter().flat_map(|a| a.split(',')).map(str::to_owned).collect(),
        app,
        caller,
        seq,
        ready,
        offered: now,
        checked: now,
        is_over: false,
        _permit: permit,
        _place: place,
    };
    let stream =
        stream::unfold(
            tail,
            |mut tail| async move { tail.next().await.map(|event| (Ok::<_, Infallible>(event), tail)) },
        );
    // nginx holds streams back unless it is told not to.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))];
    Ok((unbuffered, Stream::new(stream)))
}

impl Tail {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            if self.is_over {
                return None;
            }
            if !self.ready.is_empty() && self.offered.elapsed() > STALL {
                return Some(self.end("slow"));
            }
            if let Some((_, event)) = self.ready.pop_front() {
                return Some(event);
            }
            if self.checked.elapsed() >= HEARTBEAT {
                self.checked = Instant::now();
                if !self.may_go_on().await {
                    return Some(self.end("signed_out"));
                }
            }
            // Seen before the store is read: a commit in between wakes at once.
            self.woken.mark_unchanged();
            match self.read().await {
                Err(_) => return Some(self.end("error")),
                Ok(0) => {}
                Ok(_) => {
                    self.offered = Instant::now();
                    continue;
                }
            }
            // Each arm is cancel-safe: a change that is not taken is seen at the next call.
            tokio::select! {
                () = self.stopping.cancelled() => return Some(self.end("stopping")),
                changed = self.woken.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep(HEARTBEAT) => return Some(Sse::default().event("ping").data("{}")),
            }
        }
    }

    /// Reads the next batch; returns how many rows there were.
    async fn read(&mut self) -> Result<usize, DbError> {
        let seq = self.seq;
        let events = self
            .app
            .db
            .read(|mut tx: Tx| async move {
                let events = crate::event::tail(&mut tx, seq, BATCH).await?;
                Ok::<_, DbError>(tx.done(events))
            })
            .await?;
        if events.is_empty() {
            return Ok(0);
        }
        // Who doesn't see the whole fleet is told of what happens on other nodes nothing, and of the rest no more than that
        // something did.
        let Ok(reach) = Reach::of(&self.app, &self.caller, Permission::View).await else { return Ok(0) };
        for event in &events {
            self.seq = event.seq;
            if self.areas.is_empty() || self.areas.contains(area(event.kind)) {
                let sent = match event.node {
                    _ if reach.is_all() => shown(event),
                    Some(node) if reach.has_node(node) => shown(event),
                    Some(_) => continue,
                    None if area(event.kind) == "access" => continue,
                    None => shown(&bare(event)),
                };
                self.ready.push_back((event.seq.saturating_sub(1), sent));
            }
        }
        Ok(events.len())
    }

    /// Returns whether the caller may still listen: sessions end, tokens are revoked, users are barred.
    async fn may_go_on(&mut self) -> bool {
        let Some(identity) = &mut self.caller.identity else { return false };
        match self.app.access.still_holds(identity, self.caller.address).await {
            Ok(Some(rights)) => {
                identity.rights = rights.into();
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn end(&mut self, why: &str) -> Sse {
        self.is_over = true;
        // What was left out on purpose has sequences too: they say nothing of how many wait.
        let seq = self.ready.front().map_or(self.seq, |(seq, _)| *seq);
        Sse::default().event("bye").data(format!("{{\"reason\":\"{why}\",\"resume_after\":{seq}}}"))
    }
}

/// An event without what it is about: a hint to look again.
fn bare(event: &Event) -> Event {
    Event { object: None, details: BTreeMap::new(), ..event.clone() }
}

fn shown(event: &Event) -> Sse {
    let data = serde_json::to_string(event).expect("an event of strings and numbers serialises");
    Sse::default().id(event.seq.to_string()).event(event.kind.as_str()).data(data)
}

async fn bounds(app: &App) -> Answer<(u64, u64)> {
    let bounds = app
        .db
        .read(|mut tx: Tx| async move {
            let last = crate::event::last_seq(&mut tx).await?;
            let first = crate::event::tail(&mut tx, 0, 1).await?.first().map_or(last + 1, |e| e.seq);
            Ok::<_, DbError>(tx.done((first, last)))
        })
        .await?;
    Ok(bounds)
}
