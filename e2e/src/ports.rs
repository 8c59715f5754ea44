//! Ports for programs that cannot be told to take any.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first of the ports, and how many there are. None of them is among those that the kernel takes for outgoing connections (`ip_local_port_range`,
/// from 32768 on): one of those may be gone before the program that it was meant for listens.
const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;

/// Ports that nobody listens on, each given out once by this process. Others begin elsewhere.
pub fn free<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(u64::from(std::process::id()) * 61 % u64::from(COUNT)).unwrap_or(0);
    [(); N].map(|()| {
        (0..COUNT)
            .map(|_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
            .find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok())
            .expect("one of 10,000 ports is free")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_listened_on() {
        let held = TcpListener::bind(("127.0.0.1", free::<1>()[0])).expect("a free port");
        let all = free::<50>();
        let mut different = all.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), all.len());
        assert!(!all.contains(&held.local_addr().expect("it listens").port()));
    }
}
