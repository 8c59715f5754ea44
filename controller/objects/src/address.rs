//! Addresses that mean another place in each machine: nobody but the one who runs Envoy may send it there.
//!
//! Envoy's own listeners for statistics and administration are on its loopback interface, and a node's metadata service is on its link
//! (the class of Contour's GHSA-5ph6-qq5x-7jwc). This is the one place that knows them, whatever object names the address.

use std::net::{IpAddr, Ipv4Addr};

/// Names of this machine, or of its link, that need no name server: they stand in the `hosts` files that kubelets, distributions and
/// clouds write, or resolvers know them. Names below `localhost` count as well. Any other name may lead there by its records in the DNS.
const LOCAL_NAMES: [&str; 16] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "broadcasthost",
    "metadata.google.internal",
    // In the DNS, for those who develop Contour.
    "local.projectcontour.io",
];

/// Whether an address is this machine, its link, or a group: loopback, unspecified (and the rest of 0.0.0.0/8), link-local, multicast and
/// broadcast, as IPv4 or IPv6, or the one written as the other.
pub fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_local_v4(v4),
        // `::1` and `::` are in the block of IPv4 addresses, too.
        IpAddr::V6(v6) => {
            v6.is_multicast() || v6.is_unicast_link_local() || v6.to_ipv4().is_some_and(is_local_v4)
        }
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    let this_network = address.octets()[0] == 0;
    let group = address.is_multicast() || address.is_broadcast();
    this_network || address.is_loopback() || address.is_link_local() || group
}

/// Whether a host name, or an address in its place, is known to be [local](is_local).
pub fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse();
    let listed = LOCAL_NAMES.contains(&name.as_str()) || name.ends_with(".localhost");
    listed || address.is_ok_and(is_local)
}

/// Whether a text looks like an address to some and like a name to others: what ends in a number and is no usual IPv4 address, such as
/// `127.1`, `0x7f.1`, `2130706433` and `0177.0.0.1`, which are all 127.0.0.1 to many resolvers. No domain has such a name.
pub fn is_ambiguous(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let number = match hexadecimal {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    };
    number && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_link_are_local() {
        let local = [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::ffff:169.254.169.254",
            "::ffff:224.0.0.1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "ff05::2",
        ];
        for address in local {
            assert!(is_local(address.parse().unwrap()), "{address}");
        }
        let others = [
            "10.0.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "1.0.0.0",
            "169.253.0.1",
            "169.255.0.1",
            "223.255.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "240.0.0.1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "fec0::1",
            "64:ff9b::a00:1",
        ];
        for address in others {
            assert!(!is_local(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn names_of_this_machine_are_local_however_they_are_written() {
        let local = [
            "localhost",
            "LocalHost",
            "localhost.",
            "a.localhost",
            "a.b.localhost.",
            "localhost.localdomain",
            "ip6-loopback",
            "127.0.0.1",
            "127.0.0.1.",
            "[::1]",
            "::1",
            "[::ffff:169.254.169.254]",
            "metadata.google.internal",
        ];
        for name in local {
            assert!(is_local_name(name), "{name}");
        }
        for name in
            ["localhost.example.com", "mylocalhost", "localhosts", "example.com", "10.0.0.1", "[fd00::1]", ""]
        {
            assert!(!is_local_name(name), "{name}");
        }
    }

    #[test]
    fn what_ends_in_a_number_and_is_no_address_is_ambiguous() {
        let ambiguous = [
            "127.1",
            "127.0.1",
            "2130706433",
            "0",
            "0x7f000001",
            "0x7f.1",
            "0X7F.0.0.0X1",
            "0x",
            "0177.0.0.1",
            "127.0.0.01",
            "017700000001",
            "127.1.",
            "256.1.1.1",
            "1.2.3.4.5",
            "a.0",
            "example.0x1f",
        ];
        for name in ambiguous {
            assert!(is_ambiguous(name), "{name}");
        }
        for name in [
            "127.0.0.1",
            "10.0.0.1.",
            "::1",
            "example.com",
            "1.example.com",
            "x0",
            "3com",
            "example.0xyz",
            "",
        ] {
            assert!(!is_ambiguous(name), "{name}");
        }
    }
}
