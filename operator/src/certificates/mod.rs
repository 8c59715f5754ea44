//! The certificates between Envoy and the controller: what the Secrets should hold, given what they hold, the time, and what each pod has
//! read so far. Pure; [`ask`] does the asking.
//!
//! The rotation itself is [`contour_certs::advance`]. Nothing about it is stored but the certificates themselves and when they were
//! written, so an operator that restarts goes on where the last one was.

pub mod ask;
mod own;
#[cfg(test)]
mod rotations;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use contour_certs::{
    Authority, Certificate, Change, Credentials, Held, IssueError, KeyAlgorithm, Leaf, Party, Peer, Policy,
    Shown, Step, advance,
};
use contour_crds::contour_deployment::{
    CertificateKeyAlgorithm, CertificateSettings, CertificateState, CertificatesStatus,
};
use contour_graph::parse_duration;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

pub(crate) use crate::build::{CERTIFICATE, FORMER, KEY, TRUST};
pub use own::{Own, examine};

use crate::child::Child;

/// How long the kubelet may take to bring a changed Secret into a pod: its sync period and the age of its cache, with a margin. Counts for
/// pods that cannot be asked.
pub const KUBELET: Duration = Duration::from_mins(3);

/// Annotation of a Secret: when its content was last changed (RFC 3339). From then on the kubelet takes its time.
const CHANGED: &str = "operator.projectcontour.io/certificates-changed";

/// Ten years.
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(87_600);

/// One year.
const LEAF_LIFETIME: Duration = Duration::from_hours(8_760);

/// The domain of the cluster in names of certificates. Nobody connects by that name: Envoy wants `contour`.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// What the rotation does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is on its way.
    Steady,
    /// A new authority is told to both sides, and issues nothing before every pod trusts it.
    Distributing,
    /// Certificates of the new authority are told, and the old authority is trusted until every pod shows its new one.
    Retiring,
    /// The Secrets are somebody else's.
    UserProvided,
}

/// The name, as in the status.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The three Secrets as they are; each may be missing or hold anything.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Of the authority.
    pub authority: Option<Secret>,
    /// Of the controller.
    pub contour: Option<Secret>,
    /// Of Envoy.
    pub envoy: Option<Secret>,
}

impl fmt::Debug for Secrets {
    /// Which are there: they hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = [&self.authority, &self.contour, &self.envoy].map(Option::is_some);
        write!(f, "Secrets({there:?})")
    }
}

impl Secrets {
    /// What can be used of them. What cannot is as if it were not there, and is made anew; authorities that any of the three trusts stay
    /// trusted as long as a certificate of theirs may be shown, also where the authority's own Secret was lost.
    pub fn held(&self) -> Held {
        let load = |[certificate, key]: [&str; 2]| {
            let secret = self.authority.as_ref()?;
            Authority::load(text(secret, certificate)?, text(secret, key)?).ok()
        };
        let (authority, former) = (load([CERTIFICATE, KEY]), load(FORMER));
        let leaf = |secret: &Option<Secret>| {
            let secret = secret.as_ref()?;
            Leaf::load(text(secret, CERTIFICATE)?, text(secret, KEY)?).ok()
        };
        let all = [&self.authority, &self.contour, &self.envoy].into_iter().flatten();
        let mut trusted: Vec<Certificate> = Vec::new();
        for certificate in all.flat_map(|secret| Certificate::parse_valid(text(secret, TRUST).unwrap_or("")))
        {
            let issues = authority.as_ref().is_some_and(|own: &Authority| *own.certificate() == certificate);
            if certificate.is_authority() && !issues && !trusted.contains(&certificate) {
                trusted.push(certificate);
            }
        }
        Held { authority, former, trusted, contour: leaf(&self.contour), envoy: leaf(&self.envoy) }
    }
}

/// When, by its annotation, the content of a Secret was changed.
fn changed_at(secret: &Secret) -> Option<Timestamp> {
    secret.metadata.annotations.as_ref()?.get(CHANGED)?.parse().ok()
}

impl Secrets {
    /// What can be said for the pods that do not speak for themselves: they work with what their Secret holds, once it has held that for
    /// as long as the [kubelet](KUBELET) may take. Until then they are known to have nothing.
    pub fn speak_for(&self, peers: &[Peer], now: Timestamp) -> Vec<Peer> {
        let presumed = |party| self.of(party).and_then(|secret| known(secret, now)).unwrap_or_else(nothing);
        let spoken = |peer: &Peer| peer.credentials.clone().unwrap_or_else(|| presumed(peer.party));
        peers.iter().map(|peer| Peer { party: peer.party, credentials: Some(spoken(peer)) }).collect()
    }

    /// What the Secret of a side holds, if it can be used.
    pub fn current(&self, party: Party) -> Option<Credentials> {
        shown(self.of(party)?)
    }

    fn of(&self, party: Party) -> Option<&Secret> {
        match party {
            Party::Contour => self.contour.as_ref(),
            Party::Envoy => self.envoy.as_ref(),
        }
    }

    /// Notes in the Secrets that are to be written when their content was changed: now, unless it is there already.
    pub fn note_changes(&self, wanted: &mut [Child], now: Timestamp) {
        let live = [&self.authority, &self.contour, &self.envoy];
        for child in wanted {
            let name = &child.object.metadata.name;
            let live = live.into_iter().flatten().find(|secret| secret.metadata.name == *name);
            let changed_at = live.filter(|live| holds(live, child)).and_then(changed_at).unwrap_or(now);
            let annotations = child.object.metadata.annotations.get_or_insert_default();
            annotations.insert(CHANGED.to_owned(), changed_at.to_string());
        }
    }
}

/// Whether a Secret has all that is wanted. What others put beside it is their business.
fn holds(live: &Secret, wanted: &Child) -> bool {
    let wanted = wanted.object.data.get("data").and_then(serde_json::Value::as_object);
    let live = serde_json::to_value(&live.data).unwrap_or_default();
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| live.get(key) == Some(value)))
}

/// What everyone who mounts a Secret has read by now; `None`: not everyone has read what it holds.
fn known(secret: &Secret, now: Timestamp) -> Option<Credentials> {
    if changed_at(secret)?.saturating_add(KUBELET).ok()? > now {
        return None;
    }
    shown(secret)
}

/// What whoever reads a Secret works with.
fn shown(secret: &Secret) -> Option<Credentials> {
    let authorities = Certificate::parse_valid(text(secret, TRUST)?);
    Some(Credentials::of(&authorities, &Certificate::parse(text(secret, CERTIFICATE)?).ok()?))
}

/// What is like no certificate of ours.
fn nothing() -> Credentials {
    let certificate = Shown { sha256: String::new(), not_after: Timestamp::MIN };
    Credentials { authorities: BTreeSet::new(), certificate }
}

/// A value of a Secret, if it is text.
fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

/// How certificates are made for this object, whose settings passed the schema.
pub fn policy(settings: &CertificateSettings, namespace: &str) -> Policy {
    let duration = |text: &Option<String>| text.as_deref().and_then(|text| parse_duration(text).ok());
    Policy {
        namespace: namespace.to_owned(),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        key_algorithm: match settings.key_algorithm.unwrap_or_default() {
            CertificateKeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP256,
            CertificateKeyAlgorithm::EcdsaP384 => KeyAlgorithm::EcdsaP384,
        },
        ca_lifetime: duration(&settings.ca_lifetime).unwrap_or(AUTHORITY_LIFETIME),
        leaf_lifetime: duration(&settings.lifetime).unwrap_or(LEAF_LIFETIME),
        renew_before: duration(&settings.renew_before),
        settle: KUBELET,
    }
}

/// Whether it matters what the pods have read.
pub fn wants_peers(held: &Held) -> bool {
    !held.trusted.is_empty()
}

/// What the Secrets should hold.
#[derive(Debug)]
pub struct Plan {
    /// What is to be held; both leaves and the authority are there.
    pub held: Held,
    /// What is different from what is held now.
    pub changes: Vec<Change>,
    /// What the rotation does at present.
    pub phase: Phase,
    /// When there is something to do again, if it takes nothing but time.
    pub next: Timestamp,
}

/// The next step. `peers` are the pods that run, as far as it [matters](wants_peers).
pub fn plan(held: Held, now: Timestamp, peers: &[Peer], policy: &Policy) -> Result<Plan, IssueError> {
    // Nobody was asked: nobody is known to have read anything.
    let peers = if wants_peers(&held) { peers } else { &Peer::SILENT };
    let Step { held, changes, next } = advance(held, now, peers, policy)?;
    let phase = phase(&held);
    Ok(Plan { held, changes, phase, next })
}

fn phase(held: &Held) -> Phase {
    let Some(authority) = held.authority.as_ref().filter(|_| wants_peers(held)) else { return Phase::Steady };
    let leaves = || Party::ALL.into_iter().filter_map(|party| held.leaf(party));
    if leaves().all(|leaf| leaf.certificate().is_signed_by(authority.certificate())) {
        Phase::Retiring
    } else {
        Phase::Distributing
    }
}

/// What to tell of certificates in the status.
pub fn told(
    phase: Phase,
    next: Option<Timestamp>,
    certificates: &BTreeMap<&'static str, &Certificate>,
) -> CertificatesStatus {
    let state = |name: &str| {
        certificates.get(name).map(|certificate| CertificateState {
            not_after: Some(certificate.not_after().to_string()),
            sha256: Some(certificate.sha256()),
        })
    };
    let ends = certificates.values().map(|certificate| certificate.not_after()).min();
    CertificatesStatus {
        phase: Some(phase.to_string()),
        valid_until: ends.map(|end| end.to_string()),
        next_step: next.map(|next| next.to_string()),
        authority: state("authority"),
        contour: state("contour"),
        envoy: state("envoy"),
    }
}
