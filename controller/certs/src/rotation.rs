//! The rotation: what should be held, given what is held and the time.
//!
//! Both sides read their files at different moments, so a CA is never swapped together with its leaves:
//! 1. a new CA is trusted beside the old one, which still issues the leaves that are due meanwhile,
//! 2. once everyone has read that, leaves are issued by the new CA,
//! 3. once nobody shows an old leaf any more, the old CA is dropped.
//!
//! That everyone has read something is known from asking ([`Peer::credentials`]), else it is taken for granted after [`Policy::settle`].
//!
//! The phase is not stored: it follows from the certificates themselves, so an interrupted rotation goes on where it
//! was. At any time each side trusts what the other one shows, whether it has read the last step or the one before.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::certificate::{later, seconds};
use crate::{Authority, Certificate, Credentials, IssueError, KeyAlgorithm, Leaf, LeafRequest, Party};

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
    /// How long before its end a leaf is replaced; `None`, or more than it lives: when a third of its life is left. A CA is replaced then
    /// in any case.
    pub renew_before: Option<Duration>,
    /// How long it may take until a peer that does not say what it works with has read new files.
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
            renew_before: None,
            settle: Duration::from_mins(1),
        }
    }
}

impl Policy {
    fn request(&self, party: Party) -> LeafRequest {
        LeafRequest::for_party(party, &self.namespace, &self.cluster_domain)
    }

    /// When a leaf is to be replaced.
    fn leaf_renewal(&self, leaf: &Certificate) -> Timestamp {
        // A leaf that its CA's end cuts short would be due as soon as it is issued, again and again.
        let life = leaf.not_after().duration_since(leaf.issued_at());
        match self.renew_before.map(seconds) {
            Some(before) if before < life => later(leaf.issued_at(), life - before),
            _ => leaf.renewal_at(),
        }
    }
}

/// A process that works with these certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which side it is on.
    pub party: Party,
    /// What it works with; `None`: it does not say.
    pub credentials: Option<Credentials>,
}

impl Peer {
    /// One process on each side that does not say what it works with.
    pub const SILENT: [Self; 2] =
        [Self { party: Party::Contour, credentials: None }, Self { party: Party::Envoy, credentials: None }];

    fn trusts(&self, authority: &Certificate, now: Timestamp, policy: &Policy) -> bool {
        match &self.credentials {
            Some(credentials) => credentials.authorities.contains(&authority.sha256()),
            None => now >= settled(authority, policy),
        }
    }

    fn shows(&self, leaf: &Certificate, now: Timestamp, policy: &Policy) -> bool {
        match &self.credentials {
            Some(credentials) => credentials.certificate.sha256 == leaf.sha256(),
            None => now >= settled(leaf, policy),
        }
    }
}

/// The moment of a step: the time, and who has read what.
struct Moment<'a> {
    now: Timestamp,
    peers: &'a [Peer],
    policy: &'a Policy,
}

impl Moment<'_> {
    /// Whether everyone trusts a CA.
    fn trusted(&self, authority: &Certificate) -> bool {
        self.peers.iter().all(|peer| peer.trusts(authority, self.now, self.policy))
    }

    /// Whether everyone of one side shows a leaf.
    fn shown(&self, party: Party, leaf: &Certificate) -> bool {
        let mut side = self.peers.iter().filter(|peer| peer.party == party);
        side.all(|peer| peer.shows(leaf, self.now, self.policy))
    }
}

/// What is held: nothing at first.
#[derive(Debug, Default)]
pub struct Held {
    /// The CA that issues, or will once everyone trusts it.
    pub authority: Option<Authority>,
    /// The CA before it, which issues until then. Where it is not kept, a leaf that is lost or expires just then is issued by a CA that
    /// not everyone trusts yet.
    pub former: Option<Authority>,
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

/// Takes the next step of the rotation, if it is time for one. `peers` are all who work with what is held.
pub fn advance(held: Held, now: Timestamp, peers: &[Peer], policy: &Policy) -> Result<Step, IssueError> {
    let moment = Moment { now, peers, policy };
    let Held { authority, former, trusted, contour, envoy } = held;
    let mut changes = Vec::new();
    let (authority, former) = moment.renew_authority(authority, former, !trusted.is_empty(), &mut changes)?;
    let mut others: Vec<Certificate> = Vec::new();
    for other in trusted.into_iter().chain(former.as_ref().map(|former| former.certificate().clone())) {
        if other != *authority.certificate() && !others.contains(&other) {
            others.push(other);
        }
    }
    let former = former
        .filter(|former| now < former.certificate().not_after() && !moment.trusted(authority.certificate()));
    let mut held = Held { authority: None, former, trusted: others, contour, envoy };
    for party in Party::ALL {
        if leaf_is_due(&held, party, authority.certificate(), &moment) {
            let issuer = held.former.as_ref().unwrap_or(&authority);
            let leaf =
                issuer.issue(&policy.request(party), now, policy.leaf_lifetime, policy.key_algorithm)?;
            *held.leaf_mut(party) = Some(leaf);
            changes.push(Change::LeafIssued(party));
        }
    }
    let (needed, dropped): (Vec<_>, Vec<_>) =
        std::mem::take(&mut held.trusted).into_iter().partition(|other| {
            other.is_valid_at(now) && is_needed(&held, other, authority.certificate(), &moment)
        });
    held.trusted = needed;
    changes.extend(dropped.iter().map(|_| Change::AuthorityDropped));
    let next = next_step(&held, authority.certificate(), &moment);
    held.authority = Some(authority);
    Ok(Step { held, changes, next })
}

impl Moment<'_> {
    /// The CA to use, and the one it follows as long as that is known. While a rotation is on its way, a CA is not replaced before everyone
    /// trusts it, as long as it is valid: nobody would be left to issue a leaf that everyone trusts.
    fn renew_authority(
        &self,
        held: Option<Authority>,
        former: Option<Authority>,
        on_its_way: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(Authority, Option<Authority>), IssueError> {
        let create = || Authority::create(self.now, self.policy.ca_lifetime, self.policy.key_algorithm);
        let usable = |certificate: &Certificate| {
            certificate.is_valid_at(self.now) && self.now < certificate.not_after()
        };
        let Some(authority) = held.filter(|authority| usable(authority.certificate())) else {
            changes.push(Change::AuthorityCreated);
            return Ok((create()?, former));
        };
        let waits = on_its_way && !self.trusted(authority.certificate());
        if waits || !authority.certificate().renewal_due(self.now) {
            return Ok((authority, former));
        }
        changes.push(Change::AuthorityRenewed);
        Ok((create()?, Some(authority)))
    }
}

/// Whether a leaf must be issued now.
fn leaf_is_due(held: &Held, party: Party, authority: &Certificate, moment: &Moment<'_>) -> bool {
    let &Moment { now, policy, .. } = moment;
    let Some(leaf) = held.leaf(party) else { return true };
    let certificate = leaf.certificate();
    if !certificate.is_valid_at(now) {
        return true;
    }
    let named = certificate.dns_names() == policy.request(party).names;
    if certificate.is_signed_by(authority) {
        return !named || now >= policy.leaf_renewal(certificate);
    }
    if !named && held.former.is_some() {
        return true; // By the former one, whom everyone trusts.
    }
    // Of another CA: replaced once everyone trusts ours, or at once if nobody can verify it anyway.
    let trusted = |other: &Certificate| other.is_valid_at(now) && certificate.is_signed_by(other);
    !held.trusted.iter().any(trusted)
        || moment.trusted(authority)
        || prolonged_at(held, certificate, policy).is_some_and(|at| now >= at)
}

/// When the former CA is to issue a leaf anew that is not of the present one; `None` if it cannot, or not for longer.
fn prolonged_at(held: &Held, leaf: &Certificate, policy: &Policy) -> Option<Timestamp> {
    let former = held.former.as_ref()?;
    (former.certificate().not_after() > leaf.not_after()).then(|| policy.leaf_renewal(leaf))
}

/// Whether a former CA must still be trusted: for a leaf it signed, or one it signed until a moment ago.
fn is_needed(held: &Held, other: &Certificate, authority: &Certificate, moment: &Moment<'_>) -> bool {
    let leaves = || Party::ALL.into_iter().filter_map(|party| Some((party, held.leaf(party)?.certificate())));
    let signed = leaves().any(|(_, leaf)| leaf.is_signed_by(other));
    let hidden = leaves().any(|(party, leaf)| !moment.shown(party, leaf));
    signed || hidden || !moment.trusted(authority)
}

/// When everyone who does not say so has read a certificate.
fn settled(certificate: &Certificate, policy: &Policy) -> Timestamp {
    later(certificate.issued_at(), seconds(policy.settle))
}

/// The earliest time at which [`advance`] would change something for peers that say nothing.
fn next_step(held: &Held, authority: &Certificate, moment: &Moment<'_>) -> Timestamp {
    let policy = moment.policy;
    let trusted_at = settled(authority, policy);
    let leaves = || Party::ALL.into_iter().filter_map(|party| held.leaf(party)).map(Leaf::certificate);
    let leaf_step = leaves().map(|leaf| {
        // One second more than the end of validity is the first moment outside of it.
        let expired = later(leaf.not_after(), SignedDuration::from_secs(1));
        let prolonged = prolonged_at(held, leaf, policy).unwrap_or(Timestamp::MAX);
        let own = leaf.is_signed_by(authority);
        expired.min(if own { policy.leaf_renewal(leaf) } else { trusted_at.min(prolonged) })
    });
    let waits = if held.trusted.is_empty() { Timestamp::MIN } else { trusted_at.min(authority.not_after()) };
    let renewal = authority.renewal_at().max(waits);
    let next = leaf_step.fold(renewal, Timestamp::min);
    if held.trusted.is_empty() || leaves().any(|leaf| !leaf.is_signed_by(authority)) {
        return next;
    }
    next.min(leaves().map(|leaf| settled(leaf, policy)).fold(trusted_at, Timestamp::max))
}
