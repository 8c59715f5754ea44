//! The rotation over years, step by step.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use contour_certs::{
    Authority, Change, Held, KeyAlgorithm, Leaf, LeafRequest, Party, Policy, Step, Usage, advance,
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
    let mut step = advance(Held::default(), at(START), &policy).unwrap();
    let (mut authorities, mut steps) = (0, 0);
    let mut now = at(START);
    while now < at(START + 20 * 365 * 86_400) {
        let before = sides(&step.held);
        assert!(step.next > now, "time must go on: {now}, {:?}", step.changes);
        now = step.next;
        step = advance(step.held, now, &policy).unwrap();
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
            let step = advance(held, now, &policy).unwrap();
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
            let Step { held: again, changes, next } = advance(step.held, now, &policy).unwrap();
            prop_assert_eq!(changes, []);
            prop_assert!(next > now);
            held = again;
        }
    }
}

#[test]
fn other_names_are_issued_at_once() {
    let first = advance(Held::default(), at(START), &Policy::default()).unwrap();
    let policy = Policy { namespace: String::from("edge"), ..Policy::default() };
    let second = advance(first.held, at(START + 1), &policy).unwrap();
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
    let step = advance(Held::default(), at(START), &Policy::default()).unwrap();
    let keys = Party::ALL.map(|party| step.held.leaf(party).unwrap().key().pem().to_owned());
    let keys = keys.into_iter().chain([step.held.authority.as_ref().unwrap().key().pem().to_owned()]);
    let shown = format!("{step:?} {step:#?}");
    for key in keys {
        let secret = key.lines().nth(1).unwrap();
        assert!(secret.len() > 40 && !shown.contains(secret), "{shown}");
    }
}
