//! The xDS server, and what Envoy refused.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use contour_e2e::wait::SOON;
use contour_resource::{ResourceType, Transaction};
use contour_xds::{Cache, Fact, Facts, Server};
use prometheus_client::registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running server; ends when dropped.
pub struct Ads {
    pub address: SocketAddr,
    cache: Cache,
    facts: Facts,
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
        let (address, facts) = (server.local_addr(), server.facts());
        let token = CancellationToken::new();
        tokio::spawn(server.serve(token.clone()));
        Ok(Self { address, cache, facts, rejections: Vec::new(), _running: token.drop_guard() })
    }

    pub fn apply(&self, transaction: Transaction) {
        self.cache.commit(transaction);
    }

    /// What Envoy refused so far.
    pub fn rejections(&mut self) -> &[Rejection] {
        self.rejections.extend(self.facts.take().into_iter().flat_map(rejections));
        &self.rejections
    }

    /// Waits until Envoy refuses something.
    pub async fn next_rejection(&mut self) -> Result<Rejection> {
        let next = async {
            loop {
                let new: Vec<_> = self.facts.changed().await.into_iter().flat_map(rejections).collect();
                if !new.is_empty() {
                    return new;
                }
            }
        };
        let new = tokio::time::timeout(SOON, next).await.context("nothing was refused")?;
        self.rejections.extend(new.iter().cloned());
        new.into_iter().next().context("nothing was refused")
    }
}

/// What is new of a fact.
fn rejections(Fact { piece, new, .. }: Fact) -> impl Iterator<Item = Rejection> {
    new.into_iter().map(move |refusal| Rejection {
        kind: piece.kind,
        resource: piece.resource.to_string(),
        part: piece.part.to_string(),
        message: refusal.message.to_string(),
    })
}
