//! Where keys work: at the dashboard's address, and only when that has a host name.

use super::verify::Party;

/// The dashboard's address, as browsers bind keys to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::access) struct Place {
    url: String,
    /// The host name and the origin, or why there are none.
    party: Result<(String, String), String>,
}

impl Place {
    /// Looks at an address of the form `https://HOST[:PORT][/PATH]`. The path plays no part: behind a reverse proxy with a
    /// prefix, keys are those of the proxy's host name.
    pub(in crate::access) fn of(url: &str) -> Self {
        Self { url: format!("{}/", url.trim_end_matches('/')), party: party(url) }
    }

    /// Returns the address, with a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns who asks keys, or why none can be asked.
    pub(super) fn party(&self) -> Result<Party<'_>, &str> {
        match &self.party {
            Ok((rp_id, origin)) => Ok(Party { rp_id, origin }),
            Err(why) => Err(why),
        }
    }
}

fn party(url: &str) -> Result<(String, String), String> {
    let authority = url.strip_prefix("https://").unwrap_or(url).split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (authority, "443"),
    };
    let host = host.to_ascii_lowercase();
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if is_address || lampas_shared::host::HostName::parse(&host).is_err() {
        return Err(format!(
            "security keys need a host name, and the dashboard's address is {url}: set public_url (or names) in the \
             controller's configuration to a name, and open the dashboard by it"
        ));
    }
    // A browser leaves out the scheme's own port.
    let origin = if port == "443" { format!("https://{host}") } else { format!("https://{host}:{port}") };
    Ok((host, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bound_to_the_host_name_of_the_address() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let place = Place::of(url);
            let found = place.party().ok().map(|p| (p.rp_id, p.origin));
            assert_eq!(found, expected, "{url}");
        };
        check("https://fleet.example:8443", Some(("fleet.example", "https://fleet.example:8443")));
        check("https://Fleet.Example/lampas", Some(("fleet.example", "https://fleet.example")));
        check("https://fleet.example:443/lampas/", Some(("fleet.example", "https://fleet.example")));
        check("https://localhost:1234", Some(("localhost", "https://localhost:1234")));
        check("https://console", Some(("console", "https://console")));
        for bare in
            ["https://192.0.2.7:8443", "https://[2001:db8::1]:8443/x", "https://[::1]", "https://", "https://a b"]
        {
            check(bare, None);
            assert!(Place::of(bare).party().is_err_and(|why| why.contains("host name")), "{bare}");
        }
        assert_eq!(Place::of("https://fleet.example/lampas").url(), "https://fleet.example/lampas/");
        assert_eq!(Place::of("https://fleet.example/").url(), "https://fleet.example/");
    }
}
