//! Connections of probes: which addresses they go to, and how far they came.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
};

use lampas_shared::probe::{ProbeHost, is_never_reached};
use tokio::net::TcpStream;

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;

/// How far a look came, for the words of one that ran out of time.
#[derive(Debug, Default)]
pub(super) struct Stage(Cell<&'static str>);

impl Stage {
    pub(super) fn set(&self, word: &'static str) {
        self.0.set(word);
    }

    pub(super) fn word(&self) -> &'static str {
        if self.0.get().is_empty() { "looking the name up" } else { self.0.get() }
    }
}

/// Connects to a host that may be asked; says why it can't.
pub(super) async fn connect(host: &ProbeHost, port: u16, elsewhere: bool, stage: &Stage) -> Result<TcpStream, String> {
    stage.set("looking the name up");
    let addresses = permitted(host, port, elsewhere)?;
    stage.set("connecting");
    let mut last = String::new();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = refused(address, &error),
        }
    }
    Err(last)
}

fn refused(address: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("nothing listens on {address}"),
        _ => format!("{address} can't be reached: {error}"),
    }
}

/// Returns the addresses of a host that a probe may go to.
fn permitted(host: &ProbeHost, port: u16, elsewhere: bool) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> = match host.as_address() {
        Some(address) => vec![SocketAddr::new(address, port)],
        None => (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|e| format!("the name {host} is not known here: {e}"))?
            .take(MAX_ADDRESSES)
            .collect(),
    };
    let Some(first) = found.first().map(SocketAddr::ip) else { return Err(format!("the name {host} has no address")) };
    let reachable: Vec<SocketAddr> = found.into_iter().filter(|a| !is_never_reached(a.ip())).collect();
    if reachable.is_empty() {
        return Err(format!("{host} is {first}, and probes never go there"));
    }
    if elsewhere {
        return Ok(reachable);
    }
    let own = own_addresses();
    let near: Vec<SocketAddr> = reachable
        .into_iter()
        .filter(|a| a.ip().to_canonical().is_loopback() || own.contains(&a.ip().to_canonical()))
        .collect();
    if near.is_empty() {
        let is = if host.as_address().is_some() { String::new() } else { format!(" ({first})") };
        let text = "is neither this node nor a node of the fleet; say \"elsewhere\" to let the probe go there";
        return Err(format!("{host}{is} {text}"));
    }
    Ok(near)
}

/// Returns the addresses of this machine's interfaces.
fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |a: nix::sys::socket::SockaddrStorage| {
        let v4 = a.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| a.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    interfaces.filter_map(|i| i.address.and_then(address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_node_is_asked_unless_somebody_says_otherwise() {
        let host = |text: &str| ProbeHost::parse(text).expect("a host");
        for near in ["127.0.0.1", "127.9.9.9", "::1", "localhost"] {
            assert!(permitted(&host(near), 80, false).is_ok(), "{near}");
        }
        let refused = permitted(&host("192.0.2.7"), 80, false).expect_err("elsewhere");
        assert!(refused.contains("say \"elsewhere\""), "{refused}");
        assert!(permitted(&host("192.0.2.7"), 80, true).is_ok());
        let refused = permitted(&host("169.254.169.254"), 80, true).expect_err("a cloud's secrets");
        assert!(refused.contains("probes never go there"), "{refused}");
        assert!(permitted(&host("no-such-host.invalid"), 80, false).is_err());
    }
}
