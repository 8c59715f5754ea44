//! What xDS carries: named, versioned resources made of parts.
//!
//! This is the whole vocabulary between the translation (`contour-envoy`) and the protocol (`contour-xds`). A resource's
//! encoded message is the concatenation of its parts: protobuf lets a repeated field be written as separate pieces, so
//! a RouteConfiguration is a head part and one part per virtual host, a Listener a head and one part per filter chain,
//! each encoded once and never again until it changes. Parts are also the unit in which a rejected change is isolated.

use std::fmt::{self, Write as _};
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
    /// The Clusters and Secrets that the piece refers to by name: a peer that lives on with it needs them.
    pub uses: Box<[(ResourceType, Arc<str>)]>,
}

impl Part {
    /// A part of the given encoded fields.
    pub fn new(id: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { id: id.into(), hash: xxh3_64(&bytes), bytes, uses: Box::default() }
    }

    /// Says which Clusters and Secrets the part refers to.
    #[must_use]
    pub fn using(mut self, names: impl IntoIterator<Item = (ResourceType, Arc<str>)>) -> Self {
        self.uses = names.into_iter().collect();
        self
    }
}

// Parts of Secrets hold private keys: bytes are never shown.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?}, {} bytes, {:016x})", self.id, self.bytes.len(), self.hash)
    }
}

/// Where parts of a large resource can be tried at a peer without touching the resource itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The name of a resource of the same type that serves nobody.
    pub name: Arc<str>,
    /// Its head: the parts on trial follow it.
    pub head: Arc<Part>,
}

/// Rewrites an encoded message so that it means the same and has other content, different for every number.
pub type Variation = fn(&[u8], u32) -> Bytes;

/// A resource as xDS serves it: a name, a content version, and parts whose concatenation is the encoded message.
#[derive(Clone)]
pub struct Resource {
    name: Arc<str>,
    version: u64,
    meaning: u64,
    parts: Vec<Arc<Part>>,
    needs: Option<Arc<str>>,
    slow: bool,
    trial: Option<Arc<Trial>>,
    variation: Option<Variation>,
    withheld: Vec<Withheld>,
    body: OnceLock<Bytes>,
}

/// A part that is not in a resource though it should be, because a peer refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The hash of the part that was refused.
    pub refused: u64,
    /// The hash of the earlier part that stands in its place, if one does.
    pub instead: Option<u64>,
}

impl Resource {
    /// A resource of these parts, in this order. Part ids must be unique within the resource.
    pub fn new(name: impl Into<Arc<str>>, parts: Vec<Arc<Part>>) -> Self {
        let version = version_of(parts.iter().map(|part| (&*part.id, part.hash)));
        Self {
            name: name.into(),
            version,
            meaning: version,
            parts,
            needs: None,
            slow: false,
            trial: None,
            variation: None,
            withheld: Vec::new(),
            body: OnceLock::new(),
        }
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

    /// Says that this resource, a Cluster, may become usable long after it was delivered with all it needs: a peer checks its
    /// endpoints first, or asks a name server for them, and answers to no Cluster until then.
    #[must_use]
    pub fn warming_slowly(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Says where parts of this resource can be tried on their own.
    #[must_use]
    pub fn tried_as(mut self, trial: Arc<Trial>) -> Self {
        self.trial = Some(trial);
        self
    }

    /// Says how this resource, of one part, can be given other content of the same meaning: for peers that do not look again at
    /// what they have refused once.
    #[must_use]
    pub fn varying(mut self, variation: Variation) -> Self {
        self.variation = Some(variation);
        self
    }

    /// This resource with other parts.
    #[must_use]
    pub fn with_parts(&self, parts: Vec<Arc<Part>>) -> Self {
        let (needs, trial) = (self.needs.clone(), self.trial.clone());
        Self {
            needs,
            trial,
            slow: self.slow,
            variation: self.variation,
            ..Self::new(Arc::clone(&self.name), parts)
        }
    }

    /// Says which parts are missing for good, as the peer refused them.
    #[must_use]
    pub fn lacking(mut self, withheld: Vec<Withheld>) -> Self {
        self.withheld = withheld;
        self
    }

    /// The variant of this number of a resource that has any: of the same meaning, with another version.
    pub fn variant(&self, number: u32) -> Option<Self> {
        let ([only], Some(variation)) = (self.parts.as_slice(), self.variation) else { return None };
        let part = Part {
            uses: only.uses.clone(),
            ..Part::new(Arc::clone(&only.id), variation(&only.bytes, number))
        };
        Some(Self { meaning: self.meaning, ..self.with_parts(vec![Arc::new(part)]) })
    }

    /// Whether this resource has variants.
    pub fn varies(&self) -> bool {
        self.variation.is_some() && self.parts.len() == 1
    }

    /// The resource's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Content hash over all parts: equal content has an equal version, in any process.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Where parts of this resource can be tried on their own.
    pub fn trial(&self) -> Option<&Arc<Trial>> {
        self.trial.as_ref()
    }

    /// What was refused of this resource and is not in it.
    pub fn withheld(&self) -> &[Withheld] {
        &self.withheld
    }

    /// The version as it travels: that of its meaning in 16 hex digits, then what is withheld. A peer gives it back when it connects again, be it to
    /// another process, which then knows what the peer refused: see [`read_version`].
    pub fn version_text(&self) -> String {
        let mut text = format!("{:016x}", self.meaning);
        for Withheld { refused, instead } in self.withheld.iter().take(MOST_TOLD) {
            let _ = write!(text, "!{refused:016x}");
            if let Some(instead) = instead {
                let _ = write!(text, "~{instead:016x}");
            }
        }
        text
    }

    /// The parts, in encoding order.
    pub fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }

    /// For a Cluster: the ClusterLoadAssignment it waits for.
    pub fn needs(&self) -> Option<&Arc<str>> {
        self.needs.as_ref()
    }

    /// For a Cluster: whether it may become usable only long after it was delivered.
    pub fn warms_slowly(&self) -> bool {
        self.slow
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

/// The most parts of which a version tells that they are withheld: 33 bytes each, for every resource an Envoy has.
const MOST_TOLD: usize = 64;

/// Reads what [`Resource::version_text`] writes. `None` for what is no version of ours.
pub fn read_version(text: &str) -> Option<(u64, Vec<Withheld>)> {
    let hash = |text: &str| (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    let mut pieces = text.split('!');
    let version = hash(pieces.next()?)?;
    let withheld = pieces.take(MOST_TOLD).map(|piece| match piece.split_once('~') {
        Some((refused, instead)) => Some(Withheld { refused: hash(refused)?, instead: Some(hash(instead)?) }),
        None => Some(Withheld { refused: hash(piece)?, instead: None }),
    });
    Some((version, withheld.collect::<Option<_>>()?))
}

/// The version of a resource of parts with these ids and hashes.
pub fn version_of<'p>(parts: impl IntoIterator<Item = (&'p str, u64)>) -> u64 {
    let mut hasher = Xxh3::new();
    for (id, hash) in parts {
        hasher.update(&hash.to_le_bytes());
        hasher.update(id.as_bytes());
    }
    hasher.digest()
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
    fn a_version_tells_what_is_withheld() {
        let (a, b) = (Arc::new(Part::new("", "x")), Arc::new(Part::new("h", "y")));
        let withheld = vec![
            Withheld { refused: 7, instead: None },
            Withheld { refused: u64::MAX, instead: Some(b.hash) },
        ];
        let resource = Resource::new("r", vec![a]).with_parts(vec![b]).lacking(withheld.clone());
        assert_eq!(read_version(&resource.version_text()), Some((resource.version(), withheld)));
        for bad in [
            "",
            "1",
            "00000000000000zz",
            "0000000000000001!",
            "0000000000000001!2",
            "0000000000000001!0000000000000002~",
        ] {
            assert_eq!(read_version(bad), None, "{bad}");
        }
        assert_eq!(read_version("0000000000000001"), Some((1, vec![])));
    }

    #[test]
    fn a_variant_has_another_version_and_the_same_meaning() {
        fn longer(bytes: &[u8], number: u32) -> Bytes {
            [bytes, &vec![b'\n'; number as usize]].concat().into()
        }
        let resource = Resource::whole("r", "x").varying(longer);
        let (one, two) = (resource.variant(1).unwrap(), resource.variant(1).unwrap().variant(1).unwrap());
        assert_eq!((one.body(), two.body()), ("x\n".into(), "x\n\n".into()));
        assert_eq!(
            (one.version_text(), two.version_text()),
            (resource.version_text(), resource.version_text())
        );
        assert!(one.version() != two.version() && one.version() != resource.version());
        assert!(Resource::whole("r", "x").variant(1).is_none());
    }

    #[test]
    fn type_urls_round_trip() {
        for t in ResourceType::ALL {
            assert_eq!(ResourceType::from_url(t.url()), Some(t));
        }
        assert_eq!(ResourceType::from_url("type.googleapis.com/unknown"), None);
    }
}
