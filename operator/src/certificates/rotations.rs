//! Whole rotations with a simulated clock and kubelet: whatever each pod has read by then, it trusts every other, and is trusted.

use std::collections::{BTreeSet, HashMap};

use contour_certs::{Change, Party};
use proptest::prelude::*;
use serde_json::json;

use super::tests::{World, at};
use super::*;

/// What goes wrong meanwhile.
#[derive(Clone, Debug)]
enum Trouble {
    /// Secrets of the two sides are lost, and the operator stands still for a while, more than once.
    Leaves { lost: BTreeSet<usize>, away: BTreeSet<usize> },
    /// The Secret of the authority is lost.
    Authority { lost: usize },
}

/// A pod, and how it lags behind.
#[derive(Clone, Debug)]
struct Pod {
    /// How many steps old its files are.
    lag: usize,
    /// It cannot be asked.
    silent: bool,
}

/// Secrets that last, and how the time goes on.
struct Course {
    lifetime: &'static str,
    ca_lifetime: &'static str,
    /// Seconds between looks.
    step: i64,
    steps: usize,
}

/// As short as the schema allows, with pods that read at once; and what is still short for pods that lag as kubelets do: the last third of a
/// certificate's life lasts for two distributions, since the authority may be lost just when it is due.
const COURSES: [Course; 2] = [
    Course { lifetime: "60s", ca_lifetime: "60s", step: 3, steps: 70 },
    Course { lifetime: "30m", ca_lifetime: "90m", step: 30, steps: 270 },
];

/// What a Secret gives to those who mount it.
#[derive(Clone)]
struct Files {
    trusted: Vec<Certificate>,
    leaf: Certificate,
}

fn files(secret: Option<&Secret>) -> Option<Files> {
    let parse = |key| Certificate::parse_all(text(secret?, key)?).ok();
    Some(Files { trusted: parse(TRUST)?, leaf: parse(CERTIFICATE)?.first()?.clone() })
}

/// Remembers who signed whom: signatures take their time.
#[derive(Default)]
struct Signatures(HashMap<(String, String), bool>);

impl Signatures {
    fn trusts(&mut self, files: &Files, leaf: &Certificate, now: Timestamp) -> bool {
        files.trusted.iter().filter(|ca| ca.is_valid_at(now)).any(|ca| {
            let pair = (leaf.sha256(), ca.sha256());
            *self.0.entry(pair).or_insert_with(|| leaf.is_signed_by(ca))
        })
    }
}

/// Follows a course to its end. Returns how often an authority was followed by another.
fn follow(course: &Course, pods: &[Pod], trouble: Option<&Trouble>) -> Result<usize, TestCaseError> {
    let mut world = World::new(&json!({"lifetime": course.lifetime, "caLifetime": course.ca_lifetime}));
    let mut published: Vec<[Option<Files>; 2]> = Vec::new();
    let (mut signatures, mut authorities) = (Signatures::default(), 0);
    for step in 0..course.steps {
        let now = at(i64::try_from(step).unwrap() * course.step);
        let side = |pod: usize| pod % 2;
        // The newest that was there so long ago, since a Secret that is gone changes nothing for those who mount it.
        let mounted = |pod: usize| {
            let known = published.len().min((step + 1).saturating_sub(1 + pods[pod].lag).max(1));
            published.get(..known)?.iter().rev().find_map(|both| both[side(pod)].as_ref())
        };
        let away = match trouble {
            Some(Trouble::Leaves { lost, away }) => {
                if lost.contains(&step) {
                    if step % 2 == 0 { world.secrets.contour = None } else { world.secrets.envoy = None }
                }
                away.iter().any(|begin| (*begin..begin + 4).contains(&step))
            }
            Some(Trouble::Authority { lost }) => {
                if step == *lost {
                    world.secrets.authority = None;
                }
                false
            }
            None => false,
        };
        if !away || step == 0 {
            let peer = |pod: usize| {
                let files = mounted(pod)?;
                let credentials = Credentials::of(&files.trusted, &files.leaf);
                Some(Peer {
                    party: Party::ALL[side(pod)],
                    credentials: (!pods[pod].silent).then_some(credentials),
                })
            };
            let peers: Vec<Peer> = (0..pods.len()).filter_map(peer).collect();
            let plan = world.look(now, &peers);
            authorities += plan.changes.iter().filter(|change| **change == Change::AuthorityRenewed).count();
            prop_assert!(plan.held.trusted.len() <= 2, "{:?}", plan.held.trusted);
        }
        // Who starts now has what is there now.
        let both = [files(world.secrets.contour.as_ref()), files(world.secrets.envoy.as_ref())];
        let there = |of: usize| {
            (0..pods.len()).filter(move |pod| side(*pod) == of).filter_map(mounted).chain(&both[of])
        };
        for (contour, envoy) in there(0).flat_map(|contour| there(1).map(move |envoy| (contour, envoy))) {
            for (verifier, shown) in [(contour, &envoy.leaf), (envoy, &contour.leaf)] {
                prop_assert!(shown.is_valid_at(now), "{shown:?} at {now}, step {step}");
                let trusted = signatures.trusts(verifier, shown, now);
                prop_assert!(trusted, "{shown:?} at {now}, step {step}, by {:?}", verifier.trusted);
            }
        }
        published.push(both);
    }
    Ok(authorities)
}

fn pods(longest: usize) -> impl Strategy<Value = Vec<Pod>> {
    let pod = (0..=longest, any::<bool>()).prop_map(|(lag, silent)| Pod { lag, silent });
    prop::collection::vec(pod, 2..6)
}

fn trouble() -> impl Strategy<Value = Option<Trouble>> {
    // Most of them while a new authority is told, which begins after two thirds of 90 minutes: at step 120.
    let lost = prop_oneof![1 => 1_usize..270, 3 => 121_usize..126];
    let lost = prop::collection::btree_set(lost, 1..6);
    let leaves = (lost, prop::collection::btree_set(1_usize..270, 0..3));
    prop_oneof![
        1 => Just(None),
        3 => leaves.prop_map(|(lost, away)| Some(Trouble::Leaves { lost, away })),
        2 => (1_usize..270).prop_map(|lost| Some(Trouble::Authority { lost })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_refused_by_anybody_at_any_time(pods in pods(5), trouble in trouble()) {
        prop_assert!(follow(&COURSES[1], &pods, trouble.as_ref())? >= 1);
    }

    #[test]
    fn nor_with_lifetimes_of_a_minute(lags in prop::collection::vec(0_usize..=1, 2..6)) {
        let pods: Vec<Pod> = lags.into_iter().map(|lag| Pod { lag, silent: false }).collect();
        prop_assert!(follow(&COURSES[0], &pods, None)? >= 3);
    }
}
