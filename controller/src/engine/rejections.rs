//! What Envoys hold against the configuration, by the objects behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contour_envoy::Owner;
use contour_graph::status::{Issue, ProxyStatus};
use contour_objects::NamespacedName;
use contour_resource::ResourceType;

/// A rejected piece: type, resource, part.
pub(super) type Piece = (ResourceType, Arc<str>, Arc<str>);

/// One rejection as its owner reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rejection {
    message: String,
    objects: BTreeSet<NamespacedName>,
}

/// All present rejections, by stream.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    by_stream: BTreeMap<u64, BTreeMap<Piece, Rejection>>,
}

impl Rejections {
    /// Notes a rejection; the HTTPProxies whose status it changes.
    pub(super) fn insert(
        &mut self,
        stream: u64,
        piece: Piece,
        node: &str,
        message: &str,
        owners: &[Owner],
    ) -> BTreeSet<NamespacedName> {
        let origins = owners.iter().flat_map(|owner| &owner.origins);
        let objects: BTreeSet<NamespacedName> =
            origins.filter(|o| o.kind == "HTTPProxy").map(|o| o.object.clone()).collect();
        let (kind, resource, part) = &piece;
        let at = if part.is_empty() { String::new() } else { format!(" (part \"{part}\")") };
        let message = format!(
            "Envoy {node} rejected {} resource \"{resource}\"{at} and keeps the last version it accepted: {message}",
            kind.short()
        );
        let rejection = Rejection { message, objects: objects.clone() };
        self.by_stream.entry(stream).or_default().insert(piece, rejection);
        objects
    }

    /// Takes a rejection back.
    pub(super) fn remove(&mut self, stream: u64, piece: &Piece) -> BTreeSet<NamespacedName> {
        let rejection = self.by_stream.get_mut(&stream).and_then(|pieces| pieces.remove(piece));
        rejection.map(|r| r.objects).unwrap_or_default()
    }

    /// Takes back everything a stream said.
    pub(super) fn forget(&mut self, stream: u64) -> BTreeSet<NamespacedName> {
        let pieces = self.by_stream.remove(&stream).unwrap_or_default();
        pieces.into_values().flat_map(|rejection| rejection.objects).collect()
    }

    /// Adds what is held against an object to its status.
    pub(super) fn add_to(&self, status: &mut ProxyStatus) {
        let all = self.by_stream.values().flat_map(BTreeMap::values);
        for rejection in all.filter(|r| r.objects.contains(&status.object)) {
            let issue = Issue::new("EnvoyError", "RejectedByEnvoy", rejection.message.clone());
            if !status.errors.contains(&issue) {
                status.errors.push(issue);
            }
        }
    }
}
