//! The rotation over years, step by step.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use contour_certs::{
    Authority, Certificate, Change, Credentials, Held, KeyAlgorithm, Leaf, LeafRequest, Party, Peer, Policy,
    Step, Usage, advance,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// What a side shows and trusts: its leaf, and CAs.
struct Side {
    shown: Vec<Leaf>,
    trusted: String,
}

fn sides(held: &Held) -> Side {
    let shown = Party::ALL.into_iter().map(|party| held.leaf(party).unwrap().clone()).collect();
    Side { shown, trusted: held.trust_bundle() }
}

/// Every leaf of `showing` is valid and trusted by the bundle of `verifying`.
fn assert_trusted(showing: &Side, verifying: &Side, now: Timestamp) {
    let bundle = contour_certs::Certificate::parse_all(&verifying.trusted).unwrap();
    for leaf in &showing.shown {
        let leaf = leaf.certificate();
        assert!(leaf.is_valid_at(now), "{leaf:?} at {now}");
        assert!(
            bundle.iter().any(|ca| ca.is_valid_at(now) && leaf.is_signed_by(ca)),
            "{leaf:?} by {bundle:?} at {now}"
        );
    }
}

fn policy(ca_days: u64, leaf_days: u64, settle_minutes: u64) -> Policy {
    Policy {
        ca_lifetime: Duration::from_hours(24 * ca_days),
        leaf_lifetime: Duration::from_hours(24 * leaf_days),
        settle: Duration::from_mins(settle_minutes),
        ..Policy::default()
    }
}

#[test]
fn twenty_years_of_steps_never_break_trust() {
    let policy = policy(700, 90, 10);
    let mut step = advance(Held::default(), at(START), &Peer::SILENT, &policy).unwrap();
    let (mut authorities, mut steps) = (0, 0);
    let mut now = at(START);
    while now < at(START + 20 * 365 * 86_400) {
        let before = sides(&step.held);
        assert!(step.next > now, "time must go on: {now}, {:?}", step.changes);
        now = step.next;
        step = advance(step.held, now, &Peer::SILENT, &policy).unwrap();
        assert!(!step.changes.is_empty(), "{now}: woken for nothing");
        let after = sides(&step.held);
        // One side may have read the new files while the other still has the old ones.
        for (showing, verifying) in [(&before, &after), (&after, &before), (&after, &after)] {
            assert_trusted(showing, verifying, now);
        }
        assert!(step.held.trusted.len() <= 1);
        authorities += step.changes.iter().filter(|change| **change == Change::AuthorityRenewed).count();
        assert!(!step.changes.contains(&Change::AuthorityCreated));
        steps += 1;
    }
    assert_eq!(authorities, 15, "every two thirds of 700 days");
    assert!((130..200).contains(&steps), "{steps}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the lifetimes and however late the calls: after each step both leaves are valid and trusted, no leaf
    /// outlives its CA, calling again at the same time changes nothing, and there is always a later next step.
    #[test]
    fn any_step_leaves_everything_usable(
        (ca_days, leaf_days, settle) in (1_u64..2_000, 1_u64..2_000, 1_u64..100),
        pauses in prop::collection::vec(0_i64..400 * 86_400, 1..8),
    ) {
        let policy = policy(ca_days, leaf_days, settle);
        let (mut now, mut held) = (at(START), Held::default());
        for pause in pauses {
            now = now.checked_add(SignedDuration::from_secs(pause)).unwrap();
            let step = advance(held, now, &Peer::SILENT, &policy).unwrap();
            let side = sides(&step.held);
            assert_trusted(&side, &side, now);
            let authority = step.held.authority.as_ref().unwrap().certificate().clone();
            prop_assert!(authority.is_valid_at(now) && !authority.renewal_due(now));
            let cas = || std::iter::once(&authority).chain(&step.held.trusted);
            for leaf in &side.shown {
                let leaf = leaf.certificate();
                let signer = cas().find(|ca| leaf.is_signed_by(ca)).unwrap();
                prop_assert!(leaf.not_after() <= signer.not_after());
            }
            let Step { held: again, changes, next } = advance(step.held, now, &Peer::SILENT, &policy).unwrap();
            prop_assert_eq!(changes, []);
            prop_assert!(next > now);
            held = again;
        }
    }
}

#[test]
fn other_names_are_issued_at_once() {
    let first = advance(Held::default(), at(START), &Peer::SILENT, &Policy::default()).unwrap();
    let policy = Policy { namespace: String::from("edge"), ..Policy::default() };
    let second = advance(first.held, at(START + 1), &Peer::SILENT, &policy).unwrap();
    assert_eq!(second.changes, [Change::LeafIssued(Party::Contour), Change::LeafIssued(Party::Envoy)]);
    let names = second.held.leaf(Party::Envoy).unwrap().certificate().dns_names().to_vec();
    assert_eq!(names, ["envoy", "envoy.edge", "envoy.edge.svc", "envoy.edge.svc.cluster.local"]);
}

#[test]
fn a_leaf_is_as_the_stock_tool_makes_it() {
    let now = at(START);
    let ca = Authority::create(now, Duration::from_hours(48), KeyAlgorithm::EcdsaP256).unwrap();
    assert_eq!(ca.certificate().common_name(), "Project Contour");
    let request = LeafRequest::for_party(Party::Contour, "projectcontour", "cluster.local");
    let leaf = ca.issue(&request, now, Duration::from_hours(96), KeyAlgorithm::EcdsaP384).unwrap();
    let certificate = leaf.certificate();
    assert_eq!(certificate.common_name(), "contour");
    assert_eq!(
        certificate.dns_names(),
        [
            "contour",
            "contour.projectcontour",
            "contour.projectcontour.svc",
            "contour.projectcontour.svc.cluster.local"
        ]
    );
    assert_eq!(certificate.not_before(), at(START - 86_400));
    assert_eq!(certificate.not_after(), at(START + 2 * 86_400), "no leaf outlives its CA");
    assert_eq!(certificate.renewal_at(), at(START + 2 * 86_400 * 2 / 3));
    assert!(!certificate.is_authority() && certificate.is_signed_by(ca.certificate()));

    let other = Authority::create(now, Duration::from_hours(48), KeyAlgorithm::EcdsaP256).unwrap();
    assert!(!certificate.is_signed_by(other.certificate()));
    let loaded = Authority::load(ca.certificate().pem(), ca.key().pem()).unwrap();
    assert!(loaded.issue(&request, now, Duration::from_hours(1), KeyAlgorithm::EcdsaP256).is_ok());
    assert!(Authority::load(leaf.chain(), leaf.key().pem()).unwrap_err().to_string().contains("is not a CA"));
}

#[test]
fn the_impossible_is_refused_with_a_way_out() {
    let now = at(START);
    let create = |lifetime, algorithm| {
        Authority::create(now, lifetime, algorithm).map(|_| ()).unwrap_err().to_string()
    };
    assert!(create(Duration::from_hours(1), KeyAlgorithm::Rsa2048).contains("use ecdsa-p256"));
    for lifetime in [Duration::ZERO, Duration::from_hours(24 * 365 * 9_000), Duration::MAX] {
        assert!(create(lifetime, KeyAlgorithm::EcdsaP256).contains("and the year 10000"), "{lifetime:?}");
    }
    let ca = Authority::create(now, Duration::from_hours(1), KeyAlgorithm::EcdsaP256).unwrap();
    let issue = |name: &str, now| {
        let request = LeafRequest { common_name: "x".into(), names: vec![name.into()], usage: Usage::Server };
        ca.issue(&request, now, Duration::from_hours(1), KeyAlgorithm::EcdsaP256)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(issue("x", at(START + 3_600)).starts_with("the CA expired at 2027-01-15T09:00:00Z"));
    assert!(issue("bücher.example", now).starts_with("\"bücher.example\" cannot be a name"));
    assert!(
        "rsa-4096".parse::<KeyAlgorithm>().unwrap_err().to_string().contains("use ecdsa-p256 or ecdsa-p384")
    );
    assert_eq!("ecdsa-p384".parse(), Ok(KeyAlgorithm::EcdsaP384));
}

#[test]
fn keys_are_never_shown() {
    let step = advance(Held::default(), at(START), &Peer::SILENT, &Policy::default()).unwrap();
    let keys = Party::ALL.map(|party| step.held.leaf(party).unwrap().key().pem().to_owned());
    let keys = keys.into_iter().chain([step.held.authority.as_ref().unwrap().key().pem().to_owned()]);
    let shown = format!("{step:?} {step:#?}");
    for key in keys {
        let secret = key.lines().nth(1).unwrap();
        assert!(secret.len() > 40 && !shown.contains(secret), "{shown}");
    }
}

/// A process that reads its files when it pleases.
struct Reader {
    party: Party,
    /// The bundle it trusts and the leaf it shows.
    side: (String, Leaf),
}

impl Reader {
    fn read(party: Party, held: &Held) -> Self {
        Self { party, side: (held.trust_bundle(), held.leaf(party).unwrap().clone()) }
    }

    fn tell(&self) -> Peer {
        let authorities = Certificate::parse_all(&self.side.0).unwrap();
        let credentials = Credentials::of(&authorities, self.side.1.certificate());
        Peer { party: self.party, credentials: Some(credentials) }
    }

    fn accepts(&self, other: &Self, now: Timestamp) -> bool {
        let leaf = other.side.1.certificate();
        let authorities = Certificate::parse_all(&self.side.0).unwrap();
        leaf.is_valid_at(now) && authorities.iter().any(|ca| ca.is_valid_at(now) && leaf.is_signed_by(ca))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Five processes read new files up to two days late, each in its own time. Whoever asks them never takes a step that
    /// one of them is not ready for: at any hour each accepts every one of the other side. And the rotation comes to its end.
    #[test]
    fn whoever_asks_leaves_nobody_behind(delays in prop::collection::vec(0_usize..12, 5..40)) {
        let policy = policy(30, 25, 1);
        let mut held = advance(Held::default(), at(START), &[], &policy).unwrap().held;
        let parties = [Party::Contour, Party::Contour, Party::Envoy, Party::Envoy, Party::Envoy];
        let mut readers = parties.map(|party| Reader::read(party, &held));
        let mut due = [0; 5];
        let (mut dropped, mut delays) = (0, delays.iter().cycle());
        for hour in (0..24 * 70).step_by(4).skip(1) {
            let now = at(START + 3600 * hour);
            let peers: Vec<Peer> = readers.iter().map(Reader::tell).collect();
            let step = advance(held, now, &peers, &policy).unwrap();
            held = step.held;
            dropped += step.changes.iter().filter(|change| **change == Change::AuthorityDropped).count();
            let mut news = !step.changes.is_empty();
            if news {
                due = due.map(|rounds: usize| if rounds == 0 { 1 + delays.next().unwrap() } else { rounds });
            }
            for (reader, due) in readers.iter_mut().zip(&mut due) {
                if *due == 1 {
                    *reader = Reader::read(reader.party, &held);
                    news = true;
                }
                *due = due.saturating_sub(1);
            }
            for one in readers.iter().filter(|_| news) {
                for other in readers.iter().filter(|other| other.party != one.party) {
                    prop_assert!(one.accepts(other, now), "{:?} does not accept {:?} in hour {hour}", one.party, other.party);
                }
            }
        }
        prop_assert!(dropped >= 3, "{dropped} of the CAs of 70 days were dropped");
    }
}

#[test]
fn a_leaf_is_replaced_when_it_is_asked_for() {
    let policy = Policy { renew_before: Some(Duration::from_hours(24 * 300)), ..policy(3_000, 365, 1) };
    let first = advance(Held::default(), at(START), &Peer::SILENT, &policy).unwrap();
    assert_eq!(first.next, at(START + 65 * 86_400));
    let second = advance(first.held, first.next, &Peer::SILENT, &policy).unwrap();
    assert_eq!(second.changes, [Change::LeafIssued(Party::Contour), Change::LeafIssued(Party::Envoy)]);
}

/// A leaf that its CA's end cuts short lives no longer than what it should be renewed before.
#[test]
fn a_leaf_that_is_cut_short_is_not_issued_again_and_again() {
    let (day, half) = (Duration::from_hours(24), Duration::from_hours(12));
    let policy =
        Policy { ca_lifetime: day, leaf_lifetime: day, renew_before: Some(half), ..Policy::default() };
    let first = advance(Held::default(), at(START), &Peer::SILENT, &policy).unwrap();
    assert_eq!(first.next, at(START + 12 * 3_600));
    let second = advance(first.held, first.next, &Peer::SILENT, &policy).unwrap();
    assert_eq!(second.changes.len(), 2);
    assert_eq!(second.next, at(START + 16 * 3_600), "then the CA is due");
    let third = advance(second.held, first.next, &Peer::SILENT, &policy).unwrap();
    assert_eq!(third.changes, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Leaves that live no longer than pods take to read a new CA, pods that lag each in its own way, and Secrets that are lost: whatever
    /// is published is trusted by every pod as it is then, and so is what any pod shows.
    #[test]
    fn nobody_is_refused_while_a_new_authority_becomes_known(
        lags in prop::collection::vec(0_usize..50, 4),
        lost in prop::collection::btree_set(0_usize..300, 0..6),
    ) {
        let minutes = Duration::from_mins;
        let policy =
            Policy { ca_lifetime: minutes(10), leaf_lifetime: minutes(2), settle: minutes(3), ..Policy::default() };
        let mut held = advance(Held::default(), at(START), &Peer::SILENT, &policy).unwrap().held;
        let mut published: Vec<(Vec<Certificate>, [Certificate; 2])> = Vec::new();
        for tick in 0..300_usize {
            let now = at(START + i64::try_from(tick).unwrap() * 4);
            let party = |pod: usize| Party::ALL[pod % 2];
            // What each pod has read: at most 200 seconds old, of a CA that is known 200 seconds before its end.
            let read = |pod: usize| published.get(tick.saturating_sub(1 + lags[pod])).or(published.first());
            let peers: Vec<Peer> = (0..lags.len()).filter_map(|pod| {
                let (authorities, leaves) = read(pod)?;
                let credentials = Some(Credentials::of(authorities, &leaves[pod % 2]));
                Some(Peer { party: party(pod), credentials })
            }).collect();
            if lost.contains(&tick) {
                if tick % 2 == 0 { held.contour = None } else { held.envoy = None }
            }
            held = advance(held, now, &peers, &policy).unwrap().held;
            let bundle = Certificate::parse_all(&held.trust_bundle()).unwrap();
            let leaves = Party::ALL.map(|party| held.leaf(party).unwrap().certificate().clone());
            prop_assert!(leaves.iter().all(|leaf| leaf.is_valid_at(now)));
            for (verifier, _) in (0..lags.len()).filter_map(read) {
                let shown = (0..lags.len()).filter_map(|pod| Some(&read(pod)?.1[pod % 2])).chain(&leaves);
                // One that a pod still shows after its end says that pods are slower than leaves live: not a matter of trust.
                for leaf in shown.filter(|leaf| leaf.is_valid_at(now)) {
                    prop_assert!(verifier.iter().any(|ca| leaf.is_signed_by(ca)), "{leaf:?} at {now} by {verifier:?}");
                }
            }
            published.push((bundle, leaves));
        }
    }
}
