//! `[web]`: dashboard and API.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Mistakes, is_host};

/// Dashboard and API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// The certificate chain (PEM) of the dashboard; together with `key`. Without them the controller makes its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key (PEM) of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Networks of reverse proxies whose `X-Forwarded-For`, `-Host` and `-Proto` are believed.
    pub trusted_proxies: Vec<Network>,
    /// The path under which a reverse proxy shows LAMPAS, like `/lampas`; empty: at the root.
    pub path_prefix: String,
    /// Names that a request may be addressed to, besides `names`, the host's name, `localhost` and addresses of the
    /// listener.
    pub allowed_hosts: Vec<String>,
}

impl Web {
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        if self.certificate.is_some() != self.key.is_some() {
            mistakes.add("web.certificate", "goes together with web.key");
        }
        let prefix = &self.path_prefix;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_".contains(c);
        let is_ok =
            prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains("//") && prefix.chars().all(allowed);
        if !prefix.is_empty() && !is_ok {
            mistakes.add("web.path_prefix", "must look like /lampas: a slash in front, none at the end");
        }
        for (i, host) in self.allowed_hosts.iter().enumerate() {
            if !is_host(host) {
                mistakes
                    .add(&format!("web.allowed_hosts[{i}]"), format!("{host:?} is neither a host name nor an address"));
            }
        }
    }

    /// Returns whether a peer is a reverse proxy that is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|n| n.contains(peer))
    }
}

/// A network in CIDR notation; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Returns whether an address is in it. IPv4 addresses in IPv6 clothes are seen as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

impl Network {
    /// Returns whether it is a single address.
    pub fn is_one(&self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Returns whether all of another network is in it.
    pub fn holds(&self, other: Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a network: write ADDRESS or ADDRESS/BITS");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(widest);
        if bits > widest { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let check = |net: &str, ip: &str, expected| {
            let network: Network = net.parse().expect(net);
            assert_eq!(network.contains(ip.parse().expect(ip)), expected, "{ip} in {net}");
        };
        check("10.0.0.0/8", "10.255.1.2", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::1", "2001:db8::2", false);
        let holds = |a: &str, b: &str| a.parse::<Network>().expect(a).holds(b.parse().expect(b));
        assert!(holds("10.0.0.0/8", "10.1.0.0/16") && holds("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!holds("10.1.0.0/16", "10.0.0.0/8") && !holds("10.0.0.0/8", "11.0.0.0/16"));
        assert!(!holds("0.0.0.0/0", "::/0"));
        for wrong in ["10.0.0.0/33", "x/8", "10.0.0.0/", ""] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
