//! Socket options of listeners. Envoy runs on Linux: the numbers are Linux's.
//!
//! Their descriptions are those of stock Contour. Envoy compares them: where they differ, a listener that comes in the place of another gets a socket
//! of its own, and connections that wait at the old one are reset.

use envoy_types::pb::envoy::config::core::v3::SocketOption;
use envoy_types::pb::envoy::config::core::v3::socket_option::{SocketState, Value};

const SOL_SOCKET: i64 = 1;
const IPPROTO_IP: i64 = 0;
const IPPROTO_TCP: i64 = 6;
const IPPROTO_IPV6: i64 = 41;
const SO_KEEPALIVE: i64 = 9;
const TCP_KEEPIDLE: i64 = 4;
const TCP_KEEPINTVL: i64 = 5;
const TCP_KEEPCNT: i64 = 6;
const IP_TOS: i64 = 1;
const IPV6_TCLASS: i64 = 67;

/// TCP keep-alive: a dead client is noticed after 45 s + 9 × 5 s. Accepted connections inherit it from the listening socket.
pub(crate) fn keepalive() -> Vec<SocketOption> {
    vec![
        option("Enable TCP keep-alive", SOL_SOCKET, SO_KEEPALIVE, 1),
        option("TCP keep-alive initial idle time", IPPROTO_TCP, TCP_KEEPIDLE, 45),
        option("TCP keep-alive time between probes", IPPROTO_TCP, TCP_KEEPINTVL, 5),
        option("TCP keep-alive probe count", IPPROTO_TCP, TCP_KEEPCNT, 9),
    ]
}

/// Keep-alive and DSCP marks (`listener.socket-options`; zero is unset).
pub(crate) fn options(tos: u8, traffic_class: u8) -> Vec<SocketOption> {
    let mut out = keepalive();
    if tos != 0 {
        out.push(option("Set IPv4 TOS field", IPPROTO_IP, IP_TOS, tos.into()));
    }
    if traffic_class != 0 {
        out.push(option("Set IPv6 Traffic Class field", IPPROTO_IPV6, IPV6_TCLASS, traffic_class.into()));
    }
    out
}

fn option(description: &str, level: i64, name: i64, value: i64) -> SocketOption {
    SocketOption {
        description: description.to_owned(),
        level,
        name,
        state: SocketState::StateListening.into(),
        value: Some(Value::IntValue(value)),
        ..Default::default()
    }
}
