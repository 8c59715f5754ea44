//! Real parts for tests: Envoy, kube-apiserver and etcd, echo upstreams, and a client to drive traffic with.
//!
//! Nothing in here is a mock. Every part runs on loopback, on ports of its own, in a
//! directory of its own, and ends when its value is dropped, or with the test process at the latest.
//!
//! | part | start it with |
//! |---|---|
//! | Envoy | [`envoy::Launch`] |
//! | kube-apiserver and etcd | [`apiserver::require`], one per test binary |
//! | HTTP, TLS and TCP upstreams that tell what they received | [`echo::Echo`], [`echo::TcpEcho`] |
//! | requests with any combination of address, SNI and host | [`client::get`] |
//! | a client that watches for the one bad answer | [`client::Watcher`] |
//! | certificates | [`certs::TestCa`] |
//! | a search for keys in what is shown | [`leak::Needle`] |
//! | ports for programs that cannot take any | [`ports::free`] |
//! | connections to kube-apiserver that die without a sign | [`relay::Relay`] |
//! | waiting on a condition | [`wait::eventually`] |

pub mod apiserver;
pub mod certs;
pub mod client;
pub mod echo;
pub mod envoy;
pub mod leak;
pub mod ports;
pub mod process;
pub mod relay;
mod tls;
pub mod wait;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Where built parts are kept between checkouts: `CONTOUR_CACHE`, or `~/.cache/contour-operator`.
pub fn cache_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CONTOUR_CACHE")
        .or_else(|| Some(set("HOME")?.join(".cache/contour-operator")))
        .context("neither CONTOUR_CACHE nor HOME is set")
}

/// The root of the checkout.
pub fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies one directory below the root")
}
