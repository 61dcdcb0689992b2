use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to nobody on the internet: loopback, a private or link-local network, or one that is
/// reserved (the special-purpose registries of IANA, RFC 6890). An IPv4 address inside an IPv6 one is looked at too.
///
/// ```
/// use peaberry_oracle::source::is_private_address;
///
/// assert!(is_private_address("169.254.169.254".parse().unwrap()), "a cloud's own metadata service");
/// assert!(is_private_address("::ffff:10.0.0.1".parse().unwrap()));
/// assert!(!is_private_address("1.1.1.1".parse().unwrap()));
/// ```
#[must_use]
pub const fn is_private_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

const fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        // The relays to 6to4 that were (RFC 7526).
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
}

const fn is_private_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let [high, low] = [g.to_be_bytes(), h.to_be_bytes()];
    let within = Ipv4Addr::new(high[0], high[1], low[0], low[1]);
    let is_mapped = a == 0 && b == 0 && c == 0 && d == 0 && e == 0 && (f == 0xffff || f == 0);
    // The well-known prefix of NAT64 (RFC 6052) holds an IPv4 address in its last 32 bits. The one for local use beside it
    // (RFC 8215) holds it wherever its operator likes, and is nobody's on the internet: it falls through to private.
    let is_translated = a == 0x64 && b == 0xff9b && c == 0 && d == 0 && e == 0 && f == 0;
    if is_mapped || is_translated {
        return is_private_v4(within);
    }
    // What is not in the block for global unicast is not routed; within it are documentation, 6to4 and Teredo.
    (a & 0xe000 != 0x2000)
        || (a == 0x2001 && (b < 0x0200 || b == 0x0db8))
        || a == 0x2002
        || (a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_every_dress_are_known() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "192.88.99.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "3fff:fff::1",
            // For local use: the last 32 bits are not where the IPv4 address is.
            "64:ff9b:1::808:808",
            "64:ff9b:1:a00:1::808:808",
            "64:ff9b:0:1::808:808",
        ] {
            assert!(is_private_address(text.parse().unwrap()), "{text}");
        }
        for text in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "192.88.98.1",
            "3fff:1000::1",
        ] {
            assert!(!is_private_address(text.parse().unwrap()), "{text}");
        }
    }
}
