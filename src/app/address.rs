//! Whom an address stands for, where addresses are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The block that one customer is given, which counts as one address: of IPv6 a /64.
#[must_use]
pub fn customer_block(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}
