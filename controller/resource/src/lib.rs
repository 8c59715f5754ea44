//! What xDS carries: named, versioned resources made of parts.
//!
//! This is the whole vocabulary between the translation (`contour-envoy`) and the protocol (`contour-xds`). A resource's
//! encoded message is the concatenation of its parts: protobuf lets a repeated field be written as separate pieces, so
//! a RouteConfiguration is a head part and one part per virtual host, a Listener a head and one part per filter chain,
//! each encoded once and never again until it changes. Parts are also the unit in which a rejected change is isolated.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The resource types this control plane serves, in make-before-break order: what comes later refers to what comes earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// `envoy.extensions.transport_sockets.tls.v3.Secret` (SDS).
    Secret,
    /// `envoy.config.cluster.v3.Cluster` (CDS).
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment` (EDS).
    Endpoints,
    /// `envoy.config.listener.v3.Listener` (LDS).
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration` (RDS).
    Route,
    /// `envoy.service.runtime.v3.Runtime` (RTDS).
    Runtime,
}

impl ResourceType {
    /// Every type, in the order of the enum.
    pub const ALL: [Self; 6] =
        [Self::Secret, Self::Cluster, Self::Endpoints, Self::Listener, Self::Route, Self::Runtime];

    /// The type URL on the wire.
    pub fn url(self) -> &'static str {
        match self {
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
        }
    }

    /// The type with this URL, if it is one that is served.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.url() == url)
    }

    /// The short name used in metrics and logs: `cds`, `eds`, `lds`, `rds`, `sds`, `rtds`.
    pub fn short(self) -> &'static str {
        match self {
            Self::Secret => "sds",
            Self::Cluster => "cds",
            Self::Endpoints => "eds",
            Self::Listener => "lds",
            Self::Route => "rds",
            Self::Runtime => "rtds",
        }
    }
}

/// One independently encoded piece of a resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// What the piece is, unique within its resource: empty for the head, else a host name (FQDN or `*`).
    pub id: Arc<str>,
    /// Content hash of `bytes` (xxh3).
    pub hash: u64,
    /// Encoded protobuf fields, valid on their own.
    pub bytes: Bytes,
}

impl Part {
    /// A part of the given encoded fields.
    pub fn new(id: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { id: id.into(), hash: xxh3_64(&bytes), bytes }
    }
}

// Parts of Secrets hold private keys: bytes are never shown.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?}, {} bytes, {:016x})", self.id, self.bytes.len(), self.hash)
    }
}

/// A resource as xDS serves it: a name, a content version, and parts whose concatenation is the encoded message.
#[derive(Clone)]
pub struct Resource {
    name: Arc<str>,
    version: u64,
    parts: Vec<Arc<Part>>,
    needs: Option<Arc<str>>,
    body: OnceLock<Bytes>,
}

impl Resource {
    /// A resource of these parts, in this order. Part ids must be unique within the resource.
    pub fn new(name: impl Into<Arc<str>>, parts: Vec<Arc<Part>>) -> Self {
        let mut hasher = Xxh3::new();
        for part in &parts {
            hasher.update(&part.hash.to_le_bytes());
            hasher.update(part.id.as_bytes());
        }
        Self { name: name.into(), version: hasher.digest(), parts, needs: None, body: OnceLock::new() }
    }

    /// A resource encoded in one piece.
    pub fn whole(name: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        Self::new(name, vec![Arc::new(Part::new("", bytes))])
    }

    /// Says that this resource, a Cluster, becomes usable only once the named ClusterLoadAssignment was delivered.
    #[must_use]
    pub fn needing(mut self, endpoints: impl Into<Arc<str>>) -> Self {
        self.needs = Some(endpoints.into());
        self
    }

    /// The resource's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Content hash over all parts: equal content has an equal version, in any process.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version as it travels: 16 hex digits.
    pub fn version_text(&self) -> String {
        format!("{:016x}", self.version)
    }

    /// The parts, in encoding order.
    pub fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }

    /// For a Cluster: the ClusterLoadAssignment it waits for.
    pub fn needs(&self) -> Option<&Arc<str>> {
        self.needs.as_ref()
    }

    /// The encoded message, concatenated at the first call and shared by all streams.
    pub fn body(&self) -> Bytes {
        if let [only] = self.parts.as_slice() {
            return only.bytes.clone();
        }
        self.body
            .get_or_init(|| {
                let mut all = BytesMut::with_capacity(self.parts.iter().map(|p| p.bytes.len()).sum());
                for part in &self.parts {
                    all.extend_from_slice(&part.bytes);
                }
                all.freeze()
            })
            .clone()
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({:?}, {:016x}, {} parts)", self.name, self.version, self.parts.len())
    }
}

/// One consistent step from one published state to the next. Setting what is already there with the same version is a no-op.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Resources to add or replace.
    pub set: Vec<(ResourceType, Arc<Resource>)>,
    /// Resources to remove, by name.
    pub remove: Vec<(ResourceType, Arc<str>)>,
}

impl Transaction {
    /// Whether the transaction carries no change.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_depends_on_content_alone() {
        let a = Resource::new("r", vec![Arc::new(Part::new("", "x")), Arc::new(Part::new("h", "y"))]);
        let b = Resource::new("r", vec![Arc::new(Part::new("", "x")), Arc::new(Part::new("h", "y"))]);
        let c = Resource::new("r", vec![Arc::new(Part::new("", "x")), Arc::new(Part::new("h", "z"))]);
        assert_eq!(a.version(), b.version());
        assert_ne!(a.version(), c.version());
        assert_eq!(a.body(), "xy");
    }

    #[test]
    fn type_urls_round_trip() {
        for t in ResourceType::ALL {
            assert_eq!(ResourceType::from_url(t.url()), Some(t));
        }
        assert_eq!(ResourceType::from_url("type.googleapis.com/unknown"), None);
    }
}
