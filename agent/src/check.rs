//! Tells why a controller can't be reached, cause by cause: `lampas-agent check`.
//!
//! Each step needs the one before it: the name, then UDP, then TLS and trust, then the controller's word. UDP is told
//! apart from TLS by a packet of a QUIC version that doesn't exist: any QUIC server answers it with the versions that it
//! knows (RFC 9000, section 6), before any certificate. NAT is told apart from both by a connection that keeps silent
//! for as long as the agent's keep-alives are apart, until the controller speaks: if that doesn't arrive, the binding
//! is gone too soon.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use lampas_runtime::{
    clock,
    config::load_or_default,
    quic::{KEEP_ALIVE, Purpose},
    random,
};
use lampas_shared::{error::Chain, time::UnixMs};
use lampas_wire::{Message, Welcome, encode, frame::Decoder, link::PROBE_LIMIT};
use quinn::TransportConfig;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

use crate::{
    config::{Config, Paths},
    link::{Credentials, DialError, Endpoints, connect, read_message, resolve},
};

/// For an answer to one UDP packet; three are sent.
const UDP_LIMIT: Duration = Duration::from_secs(2);
/// A clock that is off by more than this makes times in reports and schedules wrong to the eye.
const CLOCK_LIMIT_MS: i64 = 2_000;
/// What every path that carries QUIC must carry (RFC 9000, section 14).
const SMALLEST_MTU: u16 = 1200;

/// What `lampas-agent check` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check this controller, as HOST:PORT, instead of those that the node knows.
    #[arg(long, value_name = "HOST:PORT")]
    pub controller: Option<String>,
    /// Leave out the check of NAT, which takes ten seconds.
    #[arg(long)]
    pub quick: bool,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What: `UDP`, `TLS`, `clock` …
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
}

/// How a thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be, with a value.
    Good(String),
    /// It works, and somebody should know.
    Odd(String),
    /// It doesn't: why, and what to do.
    Bad(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Good(value) | Verdict::Odd(value) | Verdict::Bad(value) => write!(f, "{} {value}", self.what),
        }
    }
}

/// What was found out about one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The controller, as `HOST:PORT`.
    pub controller: String,
    /// In the order of looking; it ends with the first that is bad.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns whether the node can live with this controller.
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(|f| matches!(f.verdict, Verdict::Bad(_)))
    }
}

impl fmt::Display for Report {
    /// One line of what is good, one more for each thing that isn't.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good: Vec<String> =
            self.findings.iter().filter(|x| matches!(x.verdict, Verdict::Good(_))).map(Finding::to_string).collect();
        write!(f, "controller {}   {}", self.controller, good.join(" · "))?;
        for finding in &self.findings {
            match &finding.verdict {
                Verdict::Good(_) => {}
                Verdict::Odd(_) => write!(f, "\n  note: {finding}")?,
                Verdict::Bad(_) => write!(f, "\n  failed: {finding}")?,
            }
        }
        Ok(())
    }
}

/// Checks each controller that the node knows. The node's own files come first; without an identity, only what needs
/// none is looked at.
pub async fn run(args: &Args, paths: &Paths) -> Vec<Report> {
    let config_path = paths.config();
    let configured = load_or_default::<Config>(&config_path).map(|c| c.link.controllers);
    let credentials = Credentials::load(&paths.identity()).map(Arc::new);
    let mut controllers: Vec<String> = args.controller.iter().cloned().collect();
    let mut own = Vec::new();
    match &configured {
        Ok(list) if controllers.is_empty() => controllers.extend(list.iter().cloned()),
        Ok(_) => {}
        Err(error) => own.push(bad("configuration", Chain(error).to_string())),
    }
    match &credentials {
        Ok(credentials) if args.controller.is_none() => {
            controllers.extend(
                credentials.memory().controllers.into_iter().filter(|c| !controllers.contains(c)).collect::<Vec<_>>(),
            );
        }
        Ok(_) => {}
        Err(error) => own.push(bad("identity", Chain(error).to_string())),
    }
    let mut reports = Vec::new();
    for controller in controllers {
        let mut findings = own.clone();
        look(&controller, credentials.as_deref().ok(), args.quick, &mut findings).await;
        reports.push(Report { controller, findings });
    }
    if reports.is_empty() {
        own.push(bad("controllers", "none is known: enrol, or set link.controllers in agent.toml".into()));
        reports.push(Report { controller: "(none)".into(), findings: own });
    }
    reports
}

async fn look(controller: &str, credentials: Option<&Credentials>, quick: bool, findings: &mut Vec<Finding>) {
    let addresses = match resolve(controller).await {
        Ok(addresses) => addresses,
        Err(error) => {
            let why = format!("{error}: check the name, /etc/resolv.conf and the name servers");
            findings.push(bad("DNS", why));
            match credentials.and_then(|c| c.memory().addresses.get(controller).copied()) {
                Some(address) => vec![address],
                None => return,
            }
        }
    };
    let mut reached = None;
    for address in &addresses {
        if answers_udp(*address).await {
            reached = Some(*address);
            break;
        }
    }
    let Some(address) = reached else {
        let all: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let why = format!(
            "no answer from {}: the controller is down, or a firewall drops UDP on this port; TCP alone isn't enough",
            all.join(", ")
        );
        findings.push(bad("UDP", why));
        return;
    };
    findings.push(good("UDP", "ok"));
    if let Some(credentials) = credentials {
        look_at_link(address, credentials, quick, findings).await;
    }
}

/// Looks at everything above UDP, over one connection.
async fn look_at_link(address: SocketAddr, credentials: &Credentials, quick: bool, findings: &mut Vec<Finding>) {
    let mut config = match credentials.client_config(Purpose::Link) {
        Ok(config) => config,
        Err(error) => return findings.push(bad("identity", Chain(&error).to_string())),
    };
    // No keep-alives: silence is what the check of NAT is about.
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some((PROBE_LIMIT * 3).try_into().expect("fits")));
    config.transport_config(Arc::new(transport));
    let connected = connect(&Endpoints::Fresh, address, config).await;
    let (endpoint, connection) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            let advice = match &error {
                DialError::Timeout { .. } => "the handshake's larger packets get lost: check the path's MTU",
                _ => {
                    "the controller is of another fleet or its authority was replaced: compare with `lampas-controller ca`, enrol again"
                }
            };
            return findings.push(bad("TLS", format!("{}: {advice}", Chain(&error))));
        }
    };
    findings.push(good("TLS", "ok"));
    let before = (clock::now(), Instant::now());
    match timeout(PROBE_LIMIT, greet(&connection, credentials)).await {
        Ok(Ok((welcome, mut recv))) => {
            let round_trip = before.1.elapsed();
            findings.push(clock_finding(before.0, round_trip, welcome.time));
            findings.push(certificate_finding(credentials, welcome.time));
            if !quick {
                findings.push(nat_finding(&mut recv).await);
            }
            findings.push(mtu_finding(connection.stats().path.current_mtu));
        }
        Ok(Err(why)) => findings.push(bad("link", why)),
        Err(_) => findings.push(bad("link", "the controller did not answer the greeting: it is overloaded".into())),
    }
    connection.close(0_u32.into(), b"checked");
    let _ = timeout(Duration::from_millis(500), endpoint.wait_idle()).await;
}

async fn greet(
    connection: &quinn::Connection,
    credentials: &Credentials,
) -> Result<(Welcome, quinn::RecvStream), String> {
    let bytes = encode(&Message::Hello(Box::new(credentials.trial()))).map_err(|e| e.to_string())?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| Chain(&e).to_string())?;
    send.write_all(&bytes).await.map_err(|e| Chain(&e).to_string())?;
    match read_message(&mut recv).await {
        Ok(Message::Welcome(welcome)) => {
            // Dropping it would reset the stream, upon which the controller may hang up.
            drop(send.finish());
            Ok((*welcome, recv))
        }
        Ok(Message::Goodbye(goodbye)) => Err(format!("the controller refuses this node: {}", goodbye.message)),
        Ok(other) => Err(format!("the controller answered with {:?}", other.kind())),
        Err(error) => {
            // A refusal closes the connection; its reason says more than a broken stream.
            let closed = timeout(Duration::from_secs(1), connection.closed()).await;
            Err(closed
                .map_or_else(|_| Chain(&error).to_string(), |why| format!("the controller closed: {}", Chain(&why))))
        }
    }
}

/// Compares the clocks at the middle of the round trip.
fn clock_finding(asked_at: UnixMs, round_trip: Duration, controller: UnixMs) -> Finding {
    let middle = asked_at.plus_ms(round_trip.as_millis() as i64 / 2);
    let offset = middle.since(controller);
    let shown = format!("{}{:.2} s", if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() as f64 / 1000.0);
    if offset.abs() <= CLOCK_LIMIT_MS {
        good("clock", &shown)
    } else {
        let why =
            format!("is {shown} off the controller's: set up NTP (times in reports and schedules follow this clock)");
        Finding { what: "clock", verdict: Verdict::Odd(why) }
    }
}

/// Judges the certificate's life by the controller's clock.
fn certificate_finding(credentials: &Credentials, now: UnixMs) -> Finding {
    let identity = credentials.identity();
    let info = identity.info();
    let life = info.not_after.since(info.not_before);
    let renewal = info.not_after.plus_ms(-life / 3).since(now);
    let days = |ms: i64| ms / 86_400_000;
    if info.not_after < now {
        bad(
            "certificate",
            format!("expired at {}: the agent renews it when it runs; if it can't, enrol again", info.not_after),
        )
    } else if renewal <= 0 {
        let why =
            format!("is due for renewal and ends in {} d: is the agent running?", days(info.not_after.since(now)));
        Finding { what: "certificate", verdict: Verdict::Odd(why) }
    } else {
        good("certificate", &format!("renews in {} d", days(renewal)))
    }
}

/// Keeps silent until the controller ends the probe, and sees whether that arrives.
async fn nat_finding(recv: &mut quinn::RecvStream) -> Finding {
    let mut decoder = Decoder::new();
    let heard = timeout(PROBE_LIMIT + Duration::from_secs(5), async {
        loop {
            match recv.read_chunk(1024, true).await {
                Ok(Some(chunk)) => decoder.push(&chunk.bytes),
                // The end of the stream or of the connection, by the controller: it was heard.
                Ok(None) | Err(quinn::ReadError::Reset(_)) => return true,
                Err(quinn::ReadError::ConnectionLost(error)) => {
                    return matches!(error, quinn::ConnectionError::ApplicationClosed(_));
                }
                Err(_) => return false,
            }
            if matches!(decoder.next_frame(), Ok(Some(_))) {
                return true;
            }
        }
    });
    if heard.await.unwrap_or(false) {
        good("NAT", "ok")
    } else {
        let secs = PROBE_LIMIT.as_secs();
        bad(
            "NAT",
            format!(
                "forgets this node within {secs} s of silence, and the agent speaks every {} s: raise the UDP time-out of the firewall",
                KEEP_ALIVE.as_secs()
            ),
        )
    }
}

fn mtu_finding(mtu: u16) -> Finding {
    if mtu > SMALLEST_MTU {
        good("MTU", &mtu.to_string())
    } else {
        let why = format!("{mtu}: the path carries no larger packets (a tunnel?); it works, more slowly");
        Finding { what: "MTU", verdict: Verdict::Odd(why) }
    }
}

/// Sends a packet of a version that nobody speaks, and waits for the answer that says so.
async fn answers_udp(address: SocketAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let Ok(socket) = UdpSocket::bind(any).await else { return false };
    if socket.connect(address).await.is_err() {
        return false;
    }
    let (packet, id) = version_probe(random::bytes());
    for _ in 0..3 {
        if socket.send(&packet).await.is_err() {
            // A refusal of an earlier packet: nobody listens there.
            return false;
        }
        let mut buffer = [0; 1500];
        match timeout(UDP_LIMIT, socket.recv(&mut buffer)).await {
            Ok(Ok(length)) if is_version_negotiation(&buffer[..length], &id) => return true,
            Ok(Err(_)) => return false,
            _ => {}
        }
    }
    false
}

/// Builds a long-header packet of a reserved version (RFC 9000, section 15: 0x?a?a?a?a), padded to the size that a first
/// packet must have, with our connection id as its source.
fn version_probe(id: [u8; 8]) -> (Vec<u8>, [u8; 8]) {
    let mut packet = vec![0xc0];
    packet.extend_from_slice(&0x1a2a_3a4a_u32.to_be_bytes());
    packet.push(8);
    packet.extend_from_slice(&random::bytes::<8>());
    packet.push(8);
    packet.extend_from_slice(&id);
    packet.resize(usize::from(SMALLEST_MTU), 0);
    (packet, id)
}

/// Returns whether a packet is Version Negotiation (RFC 9000, section 17.2.1) in answer to our connection id.
fn is_version_negotiation(packet: &[u8], id: &[u8; 8]) -> bool {
    packet.len() > 14 && packet[0] & 0x80 != 0 && packet[1..5] == [0; 4] && packet[5] == 8 && packet[6..14] == *id
}

fn good(what: &'static str, value: &str) -> Finding {
    Finding { what, verdict: Verdict::Good(value.to_owned()) }
}

fn bad(what: &'static str, why: String) -> Finding {
    Finding { what, verdict: Verdict::Bad(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_of_good_news_and_one_for_each_trouble() {
        let report = Report {
            controller: "fleet.example:8443".into(),
            findings: vec![
                good("UDP", "ok"),
                clock_finding(UnixMs(1_000_020), Duration::ZERO, UnixMs(1_000_000)),
                clock_finding(UnixMs(9_000_000), Duration::ZERO, UnixMs(1_000_000)),
            ],
        };
        let text = report.to_string();
        assert!(
            text.starts_with("controller fleet.example:8443   UDP ok · clock +0.02 s\n  note: clock is +8000.00 s off"),
            "{text}"
        );
        assert!(report.is_good(), "a clock that is off keeps nobody out");
    }

    #[tokio::test]
    async fn a_closed_port_is_told_from_one_that_answers() {
        let answering = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let address = answering.local_addr().expect("an address");
        let serve = async {
            let mut buffer = [0; 1500];
            let (length, peer) = answering.recv_from(&mut buffer).await.expect("a probe");
            assert_eq!(length, 1200);
            let mut reply = vec![0x80, 0, 0, 0, 0, 8];
            reply.extend_from_slice(&buffer[15..23]);
            reply.push(0);
            reply.extend_from_slice(&1_u32.to_be_bytes());
            answering.send_to(&reply, peer).await.expect("sent");
        };
        let (answered, ()) = tokio::join!(answers_udp(address), serve);
        assert!(answered);
        let closed = { UdpSocket::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address") };
        assert!(!answers_udp(closed).await, "nobody listens");
        assert!(!is_version_negotiation(&[0x80; 40], &[0; 8]));
    }
}
