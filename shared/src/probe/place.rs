//! Where probes go: hosts and URLs, and which addresses nothing ever goes to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{TextError, text::text_newtype};

text_newtype!(
    /// A host by name or address: `127.0.0.1`, `::1`, `db-1.internal`.
    ProbeHost,
    |text| {
        if text.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // What looks like an address and is none ("127.1", "0x7f.1") means different things to different programs.
        let is_numeric = text.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()) || l.starts_with("0x"));
        if text.len() <= 253 && text.split('.').all(is_label) && !is_numeric {
            return Ok(());
        }
        Err(TextError::new("host", text, "is neither an address nor a host name"))
    }
);

impl ProbeHost {
    /// The node itself.
    pub fn loopback() -> Self {
        Self::parse("127.0.0.1").expect("it is an address")
    }

    /// Returns it as an address, if it is one.
    pub fn as_address(&self) -> Option<IpAddr> {
        self.as_str().parse().ok()
    }

    /// Returns whether it can only be the node itself.
    pub fn is_loopback(&self) -> bool {
        self.as_str().eq_ignore_ascii_case("localhost") || self.as_address().is_some_and(|a| a.is_loopback())
    }

    /// Returns it as it stands in a URL.
    pub fn in_url(&self) -> String {
        match self.as_address() {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.as_str().to_owned(),
        }
    }
}

/// Addresses under which clouds hand out the secrets of a machine to whoever asks from it.
pub const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Returns whether nothing ever goes to this address, whoever names it: it is nobody's, everybody's, link-local (RFC 3927
/// and RFC 4291) or one of [`METADATA`].
pub fn is_never_reached(address: IpAddr) -> bool {
    let address = address.to_canonical();
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0,
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
        }
}

/// An http or https URL without a user, a password or a fragment: `http://127.0.0.1:8080/health?deep=1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProbeUrl {
    text: String,
    is_tls: bool,
    host: ProbeHost,
    port: u16,
    path: String,
}

crate::text::string_schema!(ProbeUrl, "http://127.0.0.1/health");

impl ProbeUrl {
    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether it is https.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the host.
    pub fn host(&self) -> &ProbeHost {
        &self.host
    }

    /// Returns the port, given or usual.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns what is asked for there: path and query, beginning with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the host with a port that is not the usual one, as the header `Host` has it.
    pub fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { self.host.in_url() } else { format!("{}:{}", self.host.in_url(), self.port) }
    }
}

impl FromStr for ProbeUrl {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let wrong = |reason: &str| TextError::new("url", text, reason);
        if text.len() > 2048 {
            return Err(wrong("at most 2048 bytes are allowed"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['\\', '"', '<', '>', '`', '{', '}']) {
            return Err(wrong("has a character that must be written as %XX"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("must begin with http:// or https://"))?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("only http and https are spoken")),
        };
        if rest.contains('#') {
            return Err(wrong("a fragment (#) never reaches a server; leave it out"));
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') {
            return Err(wrong("must hold no user and no password"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("has no host, or a port that is none"))?;
        let host = ProbeHost::parse(host)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { text: text.to_owned(), is_tls, host, port: port.unwrap_or(if is_tls { 443 } else { 80 }), path })
    }
}

impl fmt::Display for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for ProbeUrl {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

impl From<ProbeUrl> for String {
    fn from(url: ProbeUrl) -> Self {
        url.text
    }
}

/// Takes `HOST`, `HOST:PORT`, `[ADDRESS]:PORT` apart; nothing when it is none of them.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|p| *p > 0 && !text.starts_with('+'));
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match after.strip_prefix(':') {
            Some(text) => Some((host, Some(port(text)?))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, text)) => Some((host, Some(port(text)?))),
        None => (!authority.is_empty()).then_some((authority, None)),
    }
}

/// Checks what goes into the header `Host`.
pub(super) fn check_authority(what: &'static str, text: &str) -> Result<(), TextError> {
    let (host, _) = split_port(text).ok_or_else(|| TextError::new(what, text, "is no host"))?;
    ProbeHost::parse(host).map(drop)
}
