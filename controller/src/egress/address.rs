//! Which addresses the controller may connect to.

use std::net::{IpAddr, Ipv4Addr};

use lampas_shared::probe::METADATA;

use crate::config::Network;

/// Returns whether an address may be connected to: the public ones, and what the configuration lists.
pub(super) fn is_allowed(address: IpAddr, allow: &[Network]) -> bool {
    let address = address.to_canonical();
    if METADATA.contains(&address) {
        // Nobody means these by a wide network.
        return allow.iter().any(|n| n.contains(address) && n.is_one());
    }
    is_public(address) || allow.iter().any(|n| n.contains(address))
}

/// Returns whether a mail server that an administrator set may be at an address: anywhere, but where none can be meant.
pub(crate) fn may_serve_mail(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_local_link = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(METADATA.contains(&address) || is_local_link || address.is_multicast() || address.is_unspecified())
}

/// Returns whether an address is one of the open Internet (the special-purpose registries of RFC 6890 taken off).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let is_global_unicast = s[0] & 0xe000 == 0x2000;
            // 2001::/23 are protocol assignments (Teredo among them), 2002::/16 carries an IPv4 address that the
            // network would take it to, 2001:db8::/32 and 3fff::/20 are for documentation.
            let is_assigned = s[0] == 0x2001 && s[1] < 0x200;
            let is_six_to_four = s[0] == 0x2002;
            let is_documentation = (s[0] == 0x2001 && s[1] == 0xdb8) || (s[0] == 0x3fff && s[1] < 0x1000);
            is_global_unicast && !is_assigned && !is_six_to_four && !is_documentation
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_and_listed_ones_are_reached() {
        let check = |address: &str, allow: &[&str], expected: bool| {
            let allow: Vec<Network> = allow.iter().map(|n| n.parse().expect(n)).collect();
            assert_eq!(is_allowed(address.parse().expect(address), &allow), expected, "{address} with {allow:?}");
        };
        for public in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"] {
            check(public, &[], true);
        }
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.1.2.3",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            check(inside, &[], false);
        }
        check("10.1.2.3", &["10.0.0.0/8"], true);
        check("::ffff:10.1.2.3", &["10.0.0.0/8"], true);
        check("127.0.0.1", &["10.0.0.0/8"], false);
        check("169.254.1.1", &["169.254.0.0/16"], true);
        check("169.254.169.254", &["169.254.0.0/16", "0.0.0.0/0"], false);
        check("169.254.169.254", &["169.254.169.254"], true);
    }
}
