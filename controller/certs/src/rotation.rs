//! The rotation: what should be held, given what is held and the time.
//!
//! Both sides read their files at different moments, so a CA is never swapped together with its leaves:
//! 1. a new CA is trusted beside the old one; leaves stay,
//! 2. after [`Policy::settle`] everyone has read that, and leaves are issued by the new CA,
//! 3. after another [`Policy::settle`] nobody shows an old leaf any more, and the old CA is dropped.
//!
//! The phase is not stored: it follows from the certificates themselves, so an interrupted rotation goes on where it
//! was. At any time each side trusts what the other one shows, whether it has read the last step or the one before.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::certificate::{later, seconds};
use crate::{Authority, Certificate, IssueError, KeyAlgorithm, Leaf, LeafRequest, Party};

/// How certificates are made and replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Namespace in the names of leaves.
    pub namespace: String,
    /// Domain of the cluster in the names of leaves.
    pub cluster_domain: String,
    /// Keys of new certificates.
    pub key_algorithm: KeyAlgorithm,
    /// How long a new CA is valid.
    pub ca_lifetime: Duration,
    /// How long a new leaf is valid; never longer than its CA.
    pub leaf_lifetime: Duration,
    /// How long it may take until everyone has read new files.
    pub settle: Duration,
}

/// One year for leaves as the stock tool has it, three for the CA, a minute to settle.
impl Default for Policy {
    fn default() -> Self {
        Self {
            namespace: String::from("projectcontour"),
            cluster_domain: String::from("cluster.local"),
            key_algorithm: KeyAlgorithm::default(),
            ca_lifetime: Duration::from_hours(3 * 365 * 24),
            leaf_lifetime: Duration::from_hours(365 * 24),
            settle: Duration::from_mins(1),
        }
    }
}

impl Policy {
    fn request(&self, party: Party) -> LeafRequest {
        LeafRequest::for_party(party, &self.namespace, &self.cluster_domain)
    }
}

/// What is held: nothing at first.
#[derive(Debug, Default)]
pub struct Held {
    /// The CA that issues.
    pub authority: Option<Authority>,
    /// Other CAs that are trusted: those of leaves that may still be shown.
    pub trusted: Vec<Certificate>,
    /// Leaf of the controller.
    pub contour: Option<Leaf>,
    /// Leaf of Envoy.
    pub envoy: Option<Leaf>,
}

impl Held {
    /// The leaf of one side.
    pub fn leaf(&self, party: Party) -> Option<&Leaf> {
        match party {
            Party::Contour => self.contour.as_ref(),
            Party::Envoy => self.envoy.as_ref(),
        }
    }

    fn leaf_mut(&mut self, party: Party) -> &mut Option<Leaf> {
        match party {
            Party::Contour => &mut self.contour,
            Party::Envoy => &mut self.envoy,
        }
    }

    /// The trust bundle for both sides as PEM: the CA that issues, then the others.
    pub fn trust_bundle(&self) -> String {
        let issuing = self.authority.as_ref().map(Authority::certificate);
        issuing.into_iter().chain(&self.trusted).map(Certificate::pem).collect()
    }
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was no usable CA: a new one was made.
    AuthorityCreated,
    /// The CA was due: a new one is trusted beside it from now on.
    AuthorityRenewed,
    /// A leaf was issued.
    LeafIssued(Party),
    /// A CA that no leaf needs any more, or that expired, is not trusted any more.
    AuthorityDropped,
}

/// The outcome of [`advance`].
#[derive(Debug)]
pub struct Step {
    /// What is to be held from now on: CA and both leaves are there.
    pub held: Held,
    /// What is different, in the order it happened; empty if nothing.
    pub changes: Vec<Change>,
    /// When there is something to do again.
    pub next: Timestamp,
}

/// Takes the next step of the rotation, if it is time for one.
pub fn advance(held: Held, now: Timestamp, policy: &Policy) -> Result<Step, IssueError> {
    let Held { authority, trusted, contour, envoy } = held;
    let mut changes = Vec::new();
    let (authority, former) = renew_authority(authority, now, policy, &mut changes)?;
    let mut others: Vec<Certificate> = Vec::new();
    for other in trusted.into_iter().chain(former) {
        if other != *authority.certificate() && !others.contains(&other) {
            others.push(other);
        }
    }
    let mut held = Held { authority: None, trusted: others, contour, envoy };
    for party in Party::ALL {
        if leaf_is_due(&held, party, &authority, now, policy) {
            let request = policy.request(party);
            let leaf = authority.issue(&request, now, policy.leaf_lifetime, policy.key_algorithm)?;
            *held.leaf_mut(party) = Some(leaf);
            changes.push(Change::LeafIssued(party));
        }
    }
    let (needed, dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut held.trusted)
        .into_iter()
        .partition(|other| other.is_valid_at(now) && is_needed(&held, other, &authority, now, policy));
    held.trusted = needed;
    changes.extend(dropped.iter().map(|_| Change::AuthorityDropped));
    let next = next_step(&held, authority.certificate(), policy);
    held.authority = Some(authority);
    Ok(Step { held, changes, next })
}

/// The CA to use, and the one it follows.
fn renew_authority(
    held: Option<Authority>,
    now: Timestamp,
    policy: &Policy,
    changes: &mut Vec<Change>,
) -> Result<(Authority, Option<Certificate>), IssueError> {
    let usable = held.filter(|authority| authority.certificate().is_valid_at(now));
    if let Some(authority) = usable {
        if !authority.certificate().renewal_due(now) {
            return Ok((authority, None));
        }
        changes.push(Change::AuthorityRenewed);
        let new = Authority::create(now, policy.ca_lifetime, policy.key_algorithm)?;
        return Ok((new, Some(authority.certificate().clone())));
    }
    changes.push(Change::AuthorityCreated);
    Ok((Authority::create(now, policy.ca_lifetime, policy.key_algorithm)?, None))
}

/// Whether a leaf must be issued now.
fn leaf_is_due(held: &Held, party: Party, authority: &Authority, now: Timestamp, policy: &Policy) -> bool {
    let Some(leaf) = held.leaf(party) else { return true };
    let certificate = leaf.certificate();
    if !certificate.is_valid_at(now) || certificate.dns_names() != policy.request(party).names {
        return true;
    }
    if certificate.is_signed_by(authority.certificate()) {
        return certificate.renewal_due(now);
    }
    // Of another CA: replaced once everyone trusts ours, or at once if nobody can verify it anyway.
    let trusted = |other: &Certificate| other.is_valid_at(now) && certificate.is_signed_by(other);
    !held.trusted.iter().any(trusted) || now >= settled(authority.certificate(), policy)
}

/// Whether a former CA must still be trusted: for a leaf it signed, or one it signed until a moment ago.
fn is_needed(
    held: &Held,
    other: &Certificate,
    authority: &Authority,
    now: Timestamp,
    policy: &Policy,
) -> bool {
    let leaves = || Party::ALL.into_iter().filter_map(|party| held.leaf(party)).map(Leaf::certificate);
    let signed = leaves().any(|leaf| leaf.is_signed_by(other));
    let shown = leaves().any(|leaf| now < settled(leaf, policy));
    signed || shown || now < settled(authority.certificate(), policy)
}

/// When everyone has read a certificate.
fn settled(certificate: &Certificate, policy: &Policy) -> Timestamp {
    later(certificate.issued_at(), seconds(policy.settle))
}

/// The earliest time at which [`advance`] would change something.
fn next_step(held: &Held, authority: &Certificate, policy: &Policy) -> Timestamp {
    let leaves = || Party::ALL.into_iter().filter_map(|party| held.leaf(party)).map(Leaf::certificate);
    let leaf_step = leaves().map(|leaf| {
        // One second more than the end of validity is the first moment outside of it.
        let expired = later(leaf.not_after(), SignedDuration::from_secs(1));
        let own = leaf.is_signed_by(authority);
        expired.min(if own { leaf.renewal_at() } else { settled(authority, policy) })
    });
    let next = leaf_step.fold(authority.renewal_at(), Timestamp::min);
    if held.trusted.is_empty() || leaves().any(|leaf| !leaf.is_signed_by(authority)) {
        return next;
    }
    let drop_at = leaves().map(|leaf| settled(leaf, policy)).fold(settled(authority, policy), Timestamp::max);
    next.min(drop_at)
}
