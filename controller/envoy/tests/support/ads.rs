//! The xDS server, and what Envoy refused.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use contour_e2e::wait::SOON;
use contour_resource::{ResourceType, Transaction};
use contour_xds::{Cache, Events, NodeEvent, Server};
use prometheus_client::registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running server; ends when dropped.
pub struct Ads {
    pub address: SocketAddr,
    cache: Cache,
    events: Events,
    rejections: Vec<Rejection>,
    _running: DropGuard,
}

/// A part of a resource that Envoy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub kind: ResourceType,
    pub resource: String,
    pub part: String,
    pub message: String,
}

impl Ads {
    /// Serves what these transactions lead to.
    pub fn start(transactions: impl IntoIterator<Item = Transaction>) -> Result<Self> {
        let cache = Cache::new();
        for transaction in transactions {
            cache.commit(transaction);
        }
        cache.open();
        let server = Server::bind(([127, 0, 0, 1], 0).into(), None, cache.clone(), &mut Registry::default())?;
        let (address, events) = (server.local_addr(), server.events());
        let token = CancellationToken::new();
        tokio::spawn(server.serve(token.clone()));
        Ok(Self { address, cache, events, rejections: Vec::new(), _running: token.drop_guard() })
    }

    pub fn apply(&self, transaction: Transaction) {
        self.cache.commit(transaction);
    }

    /// What Envoy refused so far.
    pub fn rejections(&mut self) -> &[Rejection] {
        while let Some(event) = self.events.try_next() {
            self.rejections.extend(rejection(event));
        }
        &self.rejections
    }

    /// Waits until Envoy refuses something.
    pub async fn next_rejection(&mut self) -> Result<Rejection> {
        let next = async {
            loop {
                if let Some(rejection) = rejection(self.events.next().await) {
                    return rejection;
                }
            }
        };
        let rejection = tokio::time::timeout(SOON, next).await.context("nothing was refused")?;
        self.rejections.push(rejection.clone());
        Ok(rejection)
    }
}

fn rejection(event: NodeEvent) -> Option<Rejection> {
    let NodeEvent::Rejected { kind, resource, part, message, .. } = event else { return None };
    Some(Rejection { kind, resource: resource.to_string(), part: part.to_string(), message })
}
