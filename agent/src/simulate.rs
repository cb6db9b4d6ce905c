//! Many agents in one process, without disks: `lampas-agent simulate`, for measuring controllers.
//!
//! Everything on the wire is real: each agent has its own identity, QUIC connection and TLS handshake, and runs the same
//! link as a real agent, on sockets that it shares with others. What is not real is the node: a desired state is checked
//! by its hash and kept in memory, and counts as applied at once.

pub(crate) mod node;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use lampas_runtime::{
    Tasks,
    identity::{Identity, TokenText, Trust},
};
use lampas_shared::{error::Chain, fleet::NodeFacts};
use nix::sys::socket::{setsockopt, sockopt};
use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use self::node::{Counters, SimulatedNode};
use crate::{
    enrol::{self, EnrolError, read_token},
    link::{Credentials, Endpoints, Link, LinkHandle, Memory},
};

/// Enrolments under way at once: enough to keep a signer busy, too few to overrun it.
const ENROLLING: usize = 32;
/// How often an enrolment is tried again when the controller says that it is busy.
const ENROL_TRIES: u32 = 20;
/// A push to all agents comes as one burst; the default buffer (208 KiB) would drop most of it.
const SOCKET_BUFFER: usize = 16 << 20;

/// What `lampas-agent simulate` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How many agents.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub nodes: u32,
    /// The controllers, as HOST:PORT; may be given several times.
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub controller: Vec<String>,
    /// The file that holds a token for that many nodes, or - for standard input; not needed when all are in --identities.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A directory of identities: those that are there are used, others are enrolled and kept there.
    #[arg(long, value_name = "DIR")]
    pub identities: Option<PathBuf>,
    /// UDP sockets that the agents share.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub sockets: u32,
    /// Confirm each generation by a fresh handshake, as real agents do; otherwise it is reported as confirmed at once.
    #[arg(long)]
    pub confirm: bool,
    /// The first part of the agents' host names.
    #[arg(long, default_value = "sim")]
    pub prefix: String,
}

/// Why the simulation can't start.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The sockets.
    #[error("opening the UDP sockets")]
    Socket(#[source] io::Error),
    /// The signal handlers.
    #[error("listening to signals")]
    Signal(#[source] io::Error),
    /// An agent has no identity and there is no token for one.
    #[error("agent {0} has no identity: give --token-file, or --identities with enough of them")]
    NoToken(u32),
    /// An enrolment failed.
    #[error("enrolling agent {number}")]
    Enrol {
        /// Which.
        number: u32,
        /// Why.
        source: EnrolError,
    },
    /// A token or an identity can't be read or written.
    #[error(transparent)]
    Token(#[from] EnrolError),
    /// An identity can't be read or written.
    #[error(transparent)]
    Identity(#[from] lampas_runtime::identity::IdentityError),
}

/// Runs until SIGTERM or SIGINT. Prints one line of JSON on SIGUSR1, when all agents are connected for the first time,
/// and at the end.
///
/// # Errors
/// When the agents can't be set up. Losing a controller is none.
pub async fn run(args: Args, tasks: &Tasks) -> Result<(), SimulateError> {
    let endpoints = Endpoints::Shared(sockets(args.sockets).map_err(SimulateError::Socket)?);
    let mut report = signal(SignalKind::user_defined1()).map_err(SimulateError::Signal)?;
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    let counters = Arc::new(Counters::default());

    let mut identities = stream::iter(1..=args.nodes)
        .map(|number| identity(number, &args, token.as_ref(), &endpoints))
        .buffer_unordered(ENROLLING);
    let mut handles = Vec::with_capacity(args.nodes as usize);
    let stopping = tasks.stopping();
    loop {
        // Both arms are cancel-safe: the stream keeps the enrolments that are under way.
        let next = tokio::select! {
            next = identities.next() => next,
            () = stopping.cancelled() => return Ok(()),
        };
        let Some(found) = next else { break };
        let (number, identity, trust) = found?;
        handles.push(start(number, identity, trust, &args, &endpoints, &counters, tasks));
    }
    info!(nodes = handles.len(), "all simulated agents run");

    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut was_complete = false;
    loop {
        // Every arm is cancel-safe: a signal or tick that is not taken comes again.
        tokio::select! {
            _ = report.recv() => print(&handles, &counters),
            _ = tick.tick(), if !was_complete => {
                if handles.iter().all(|h| h.status().borrow().connected.is_some()) {
                    was_complete = true;
                    print(&handles, &counters);
                }
            }
            () = stopping.cancelled() => break,
        }
    }
    print(&handles, &counters);
    Ok(())
}

fn start(
    number: u32,
    identity: Identity,
    trust: Trust,
    args: &Args,
    endpoints: &Endpoints,
    counters: &Arc<Counters>,
    tasks: &Tasks,
) -> LinkHandle {
    let memory = Memory { controllers: args.controller.clone(), ..Memory::default() };
    let credentials = Credentials::in_memory(identity, trust, memory);
    let credentials = Arc::new(credentials.expect("the enrolment has checked that it is a node's of this fleet"));
    let handle = Link::handle(Arc::clone(&credentials), Vec::new(), endpoints.clone());
    let upstream = args.confirm.then(|| handle.clone());
    let node = Arc::new(SimulatedNode::new(credentials.node(), Arc::clone(counters), upstream, tasks.clone()));
    let facts = facts(number, args);
    let link = Link::new(&handle, Box::new(move || facts.clone()), Arc::new(Arc::clone(&node)), Arc::new(node));
    tasks.spawn("simulated link", link.run(tasks.stopping()));
    handle
}

/// Returns an agent's identity: the kept one, or a new one.
async fn identity(
    number: u32,
    args: &Args,
    token: Option<&TokenText>,
    endpoints: &Endpoints,
) -> Result<(u32, Identity, Trust), SimulateError> {
    let kept =
        args.identities.as_deref().map(|dir| (dir.join(format!("{number}.pem")), dir.join(format!("{number}.trust"))));
    if let Some((identity, trust)) = &kept
        && let (Some(identity), Some(trust)) = (Identity::load(identity)?, Trust::load(trust)?)
    {
        return Ok((number, identity, trust));
    }
    let token = token.ok_or(SimulateError::NoToken(number))?;
    let controller = &args.controller[number as usize % args.controller.len()];
    let mut tries = 0;
    let (identity, trust, _) = loop {
        match enrol::request(controller, token, facts(number, args), endpoints).await {
            Ok(enrolled) => break enrolled,
            Err(EnrolError::Refused(fault)) if !fault.retry => {
                return Err(SimulateError::Enrol { number, source: EnrolError::Refused(fault) });
            }
            Err(source) if tries >= ENROL_TRIES => return Err(SimulateError::Enrol { number, source }),
            Err(error) => {
                tries += 1;
                warn!(number, error = %Chain(&error), "an enrolment is tried again");
                tokio::time::sleep(Duration::from_millis(200 * u64::from(tries))).await;
            }
        }
    };
    if let Some((identity_path, trust_path)) = &kept {
        if let Some(dir) = args.identities.as_deref() {
            make_dir(dir)?;
        }
        trust.store(trust_path)?;
        identity.store(identity_path)?;
    }
    Ok((number, identity, trust))
}

fn make_dir(dir: &Path) -> Result<(), SimulateError> {
    lampas_runtime::files::private_dir(dir)
        .map_err(|source| EnrolError::Write { path: dir.display().to_string(), source }.into())
}

fn facts(number: u32, args: &Args) -> NodeFacts {
    NodeFacts {
        hostname: format!("{}-{number:05}", args.prefix),
        os: "simulated".into(),
        kernel: "none".into(),
        architecture: std::env::consts::ARCH.into(),
        cpus: 1,
        memory_bytes: 1 << 30,
        time_zone: "UTC".into(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        machine: format!("simulated-{}-{number}", args.prefix),
        root: "/".into(),
        addresses: Vec::new(),
        policy: None,
        pause: None,
        undone_since: None,
    }
}

/// Opens the shared sockets, with room for a burst.
fn sockets(count: u32) -> io::Result<Arc<[Endpoint]>> {
    (0..count)
        .map(|_| {
            let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
            // With CAP_NET_ADMIN beyond the system's maximum; otherwise up to it. Less is slower, not wrong.
            if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
                let _ = setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER);
            }
            Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
        })
        .collect()
}

/// Prints one line of JSON.
fn print(handles: &[LinkHandle], counters: &Counters) {
    let (mut connected, mut sessions, mut sent, mut received) = (0, 0, 0, 0);
    for handle in handles {
        let status = handle.status();
        let status = status.borrow();
        connected += u64::from(status.connected.is_some());
        sessions += status.sessions;
        if let Some((tx, rx)) = handle.bytes() {
            sent += tx;
            received += rx;
        }
    }
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok();
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    let line = serde_json::json!({
        "nodes": handles.len(),
        "connected": connected,
        "sessions": sessions,
        "states": counters.states(),
        "refused": counters.refused(),
        "applied": counters.applied(),
        "reports_acked": counters.acked(),
        "plans": counters.plans(),
        "confirms_failed": counters.confirms_failed(),
        "bytes_sent": sent,
        "bytes_received": received,
        "cpu_secs": usage.map(|u| seconds(u.user_time()) + seconds(u.system_time())),
        "max_rss_kib": usage.map(|u| u.max_rss()),
    });
    println!("{line}");
}
