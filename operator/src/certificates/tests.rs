//! The rotation, always through Secrets: each step starts from what the last one wrote, as after a restart.

use contour_certs::{
    Authority, Certificate, Change, Credentials, KeyAlgorithm, Leaf, LeafRequest, Party, Peer, Usage,
};
use contour_crds::ContourDeployment;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::*;
use crate::adoption::Adopted;
use crate::build::{Inputs, secrets};
use crate::child::Child;
use crate::defaults::Defaults;
use crate::names::Names;

const START: i64 = 1_800_000_000;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// An installation whose Secrets are written at each step.
pub(super) struct World {
    deployment: ContourDeployment,
    pub(super) secrets: Secrets,
}

impl World {
    pub(super) fn new(certificates: &serde_json::Value) -> Self {
        let deployment = json!({
            "apiVersion": "operator.projectcontour.io/v1alpha1", "kind": "ContourDeployment",
            "metadata": {"name": "edge", "namespace": "ingress", "uid": "1"},
            "spec": {"ingressClassName": "edge", "certificates": certificates},
        });
        Self { deployment: serde_json::from_value(deployment).unwrap(), secrets: Secrets::default() }
    }

    /// A look at this time. Returns what changed.
    pub(super) fn look(&mut self, now: Timestamp, peers: &[Peer]) -> Plan {
        let policy = policy(&self.deployment.spec.certificates, "ingress");
        let peers = self.secrets.speak_for(peers, now);
        let plan = plan(self.secrets.held(), now, &peers, &policy).unwrap();
        let mut written = self.children(&plan.held);
        self.secrets.note_changes(&mut written, now);
        let [authority, contour, envoy] = &written[..] else { panic!("three Secrets") };
        let read = |child: &Child| {
            let mut value = serde_json::to_value(&child.object).unwrap();
            let fields = value.as_object_mut().unwrap();
            fields.remove("apiVersion");
            fields.remove("kind");
            Some(serde_json::from_value(value).unwrap())
        };
        self.secrets = Secrets { authority: read(authority), contour: read(contour), envoy: read(envoy) };
        plan
    }

    fn children(&self, held: &Held) -> Vec<Child> {
        let names = Names::of(&self.deployment).unwrap();
        let defaults = Defaults {
            contour_image: "contour:1".to_owned(),
            envoy_image: "envoy:1".to_owned(),
            agent_image: "contour:1".to_owned(),
            version: "1".to_owned(),
            namespace: "contour-operator".to_owned(),
        };
        let inputs = Inputs {
            deployment: &self.deployment,
            names: &names,
            defaults: &defaults,
            kept: None,
            addresses: &[],
            adopted: &Adopted::NOTHING,
        };
        secrets(&inputs, held)
    }

    /// A pod that reads its Secret now.
    fn reads(&self, party: Party) -> Peer {
        let secret = match party {
            Party::Contour => self.secrets.contour.as_ref(),
            Party::Envoy => self.secrets.envoy.as_ref(),
        };
        let value = |key| Certificate::parse_all(text(secret.unwrap(), key).unwrap()).unwrap();
        let credentials = Credentials::of(&value(TRUST), &value(CERTIFICATE)[0]);
        Peer { party, credentials: Some(credentials) }
    }
}

#[test]
fn the_first_look_makes_all_and_the_second_changes_nothing() {
    let mut world = World::new(&json!({}));
    let first = world.look(at(0), &[]);
    assert_eq!(first.phase, Phase::Steady);
    assert_eq!(first.changes.len(), 3);
    let before = world.children(&first.held);
    let second = world.look(at(60), &[]);
    assert_eq!((second.changes, second.phase, second.next), (vec![], Phase::Steady, first.next));
    assert_eq!(world.children(&second.held), before);

    let names: Vec<_> = before.iter().map(|child| child.reference().to_string()).collect();
    assert_eq!(
        names,
        [
            "Secret ingress/contour-ca-edge",
            "Secret ingress/contourcert-edge",
            "Secret ingress/envoycert-edge"
        ]
    );
    let authority = second.held.authority.as_ref().unwrap().certificate();
    let year = |years: i64| SignedDuration::from_hours(years * 8_760);
    assert_eq!(authority.not_after(), at(0) + year(10));
    assert_eq!(second.held.contour.as_ref().unwrap().certificate().not_after(), at(0) + year(1));
    let key = second.held.authority.as_ref().unwrap().key().pem();
    for leaf in [&world.secrets.contour, &world.secrets.envoy] {
        let data = leaf.as_ref().unwrap().data.as_ref().unwrap();
        assert!(data.values().all(|value| value.0 != key.as_bytes()), "no pod gets the key of the authority");
    }
}

#[test]
fn what_is_lost_or_spoiled_is_made_anew_and_the_rest_stays() {
    type Harm = fn(&mut Secrets);
    let harms: [(&str, Harm, Vec<Change>); 5] = [
        ("the controller's is lost", |s| s.contour = None, vec![Change::LeafIssued(Party::Contour)]),
        ("Envoy's is lost", |s| s.envoy = None, vec![Change::LeafIssued(Party::Envoy)]),
        ("a key is spoiled", |s| harm(&mut s.envoy, KEY), vec![Change::LeafIssued(Party::Envoy)]),
        ("a trust bundle is spoiled", |s| harm(&mut s.contour, TRUST), vec![]),
        ("the authority is lost", |s| s.authority = None, vec![Change::AuthorityCreated]),
    ];
    for (what, harm, expected) in harms {
        let mut world = World::new(&json!({}));
        world.look(at(0), &[]);
        let before = [world.reads(Party::Contour), world.reads(Party::Envoy)];
        harm(&mut world.secrets);
        let plan = world.look(at(60), &before);
        assert_eq!(plan.changes, expected, "{what}");
        // Whoever has not read the news yet is still believed.
        let held = world.secrets.held();
        let trusts = Certificate::parse_all(&held.trust_bundle()).unwrap();
        for peer in &before {
            let known = peer.credentials.as_ref().unwrap();
            assert!(trusts.iter().any(|ca| known.authorities.contains(&ca.sha256())), "{what}");
        }
    }
}

fn harm(secret: &mut Option<Secret>, key: &str) {
    let data = secret.as_mut().unwrap().data.as_mut().unwrap();
    data.insert(key.to_owned(), ByteString(b"nonsense".to_vec()));
}

#[test]
fn a_new_authority_waits_for_every_pod_twice() {
    let mut world = World::new(&json!({"lifetime": "60s", "caLifetime": "60s"}));
    world.look(at(0), &[]);
    let (old_contour, old_envoy) = (world.reads(Party::Contour), world.reads(Party::Envoy));
    let everyone = |world: &World| [world.reads(Party::Contour), world.reads(Party::Envoy)];

    assert_eq!(world.look(at(39), &[]).changes, []);
    let renewed = world.look(at(40), &[]);
    assert_eq!((renewed.changes, renewed.phase), (vec![Change::AuthorityRenewed], Phase::Distributing));

    // One of them has not read it yet.
    let half = [world.reads(Party::Contour), old_envoy.clone()];
    let waiting = world.look(at(42), &half);
    assert_eq!((waiting.changes, waiting.phase), (vec![], Phase::Distributing));
    // A pod that does not say counts after the time of the kubelet only.
    let silent = [world.reads(Party::Contour), Peer { party: Party::Envoy, credentials: None }];
    assert_eq!(world.look(at(43), &silent).changes, []);

    let trusted = everyone(&world);
    let issued = world.look(at(44), &trusted);
    assert_eq!(issued.phase, Phase::Retiring);
    assert_eq!(issued.changes, [Change::LeafIssued(Party::Contour), Change::LeafIssued(Party::Envoy)]);

    // Both trust the new authority, one still shows its old certificate.
    let mut late = old_contour;
    late.credentials.as_mut().unwrap().authorities = trusted[0].credentials.clone().unwrap().authorities;
    let waiting = world.look(at(46), &[late, world.reads(Party::Envoy)]);
    assert_eq!((waiting.changes, waiting.phase), (vec![], Phase::Retiring));

    let done = world.look(at(48), &everyone(&world));
    assert_eq!((done.changes, done.phase), (vec![Change::AuthorityDropped], Phase::Steady));
    assert!(world.secrets.held().trusted.is_empty());
}

#[test]
fn a_silent_pod_counts_after_the_time_of_the_kubelet() {
    let mut world = World::new(&json!({"lifetime": "24h", "caLifetime": "24h"}));
    world.look(at(0), &[]);
    let renewed = world.look(at(16 * 3600), &[]);
    assert_eq!(renewed.phase, Phase::Distributing);
    let begun = 16 * 3600;
    assert_eq!(world.look(at(begun + 179), &Peer::SILENT).changes, []);
    assert_eq!(world.look(at(begun + 180), &Peer::SILENT).phase, Phase::Retiring);
    assert_eq!(world.look(at(begun + 359), &Peer::SILENT).changes, []);
    assert_eq!(world.look(at(begun + 360), &Peer::SILENT).phase, Phase::Steady);
}

/// A pair of the user's own, for these names.
fn own_pair(authority: &Authority, name: &str, trusted: &Authority) -> Secret {
    own_pair_for(authority, name, trusted, Usage::ServerAndClient)
}

fn own_pair_for(authority: &Authority, name: &str, trusted: &Authority, usage: Usage) -> Secret {
    let request = LeafRequest { common_name: name.to_owned(), names: vec![name.to_owned()], usage };
    let lifetime = Duration::from_hours(1);
    let leaf: Leaf = authority.issue(&request, at(0), lifetime, KeyAlgorithm::EcdsaP256).unwrap();
    let data = [(TRUST, trusted.certificate().pem()), (CERTIFICATE, leaf.chain()), (KEY, leaf.key().pem())];
    let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret { data: Some(data.into()), ..Secret::default() }
}

#[test]
fn secrets_of_the_user_are_judged() {
    let day = Duration::from_hours(24);
    let ca = Authority::create(at(0), day, KeyAlgorithm::EcdsaP256).unwrap();
    let other = Authority::create(at(1), day, KeyAlgorithm::EcdsaP256).unwrap();
    let judged = |contour: Option<&Secret>, envoy: Option<&Secret>, now| {
        let own = examine([(Party::Contour, "a", contour), (Party::Envoy, "b", envoy)], now);
        own.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let (contour, envoy) = (own_pair(&ca, "contour", &ca), own_pair(&ca, "envoy", &ca));
    assert_eq!(judged(Some(&contour), Some(&envoy), at(10)), "");
    assert!(judged(None, Some(&envoy), at(10)).contains("there is no Secret a in this namespace"));
    assert!(judged(Some(&contour), Some(&envoy), at(3700)).contains("Secret a is valid from"));
    let misnamed = own_pair(&ca, "proxy", &ca);
    assert!(judged(Some(&contour), Some(&misnamed), at(10)).contains("not for the DNS name envoy"));
    let stranger = own_pair(&other, "envoy", &ca);
    let told = judged(Some(&contour), Some(&stranger), at(10));
    assert!(
        told.starts_with("spec.certificates.secretRefs.envoy: no valid certificate in ca.crt of Secret a"),
        "{told}"
    );
    let server = own_pair_for(&ca, "envoy", &ca, Usage::Server);
    let told = judged(Some(&contour), Some(&server), at(10));
    assert!(
        told.contains("the controller would refuse tls.crt of this Secret with ca.crt of Secret a"),
        "{told}"
    );
    let mut spoiled = Some(envoy.clone());
    harm(&mut spoiled, KEY);
    assert!(judged(Some(&contour), spoiled.as_ref(), at(10)).contains("cannot be used"));
    let mut mixed = envoy;
    let key = contour.data.as_ref().unwrap()[KEY].clone();
    mixed.data.as_mut().unwrap().insert(KEY.to_owned(), key);
    assert!(
        judged(Some(&contour), Some(&mixed), at(10)).contains("the key does not belong to the certificate")
    );
}

/// Whatever is pasted where: what is told of the Secret holds no octets of the key.
#[test]
fn a_key_of_the_user_never_shows() {
    use contour_e2e::leak::Needle;
    let ca = Authority::create(at(0), Duration::from_hours(24), KeyAlgorithm::EcdsaP256).unwrap();
    let good = own_pair(&ca, "contour", &ca);
    for file in [include_str!("testdata/rsa.pem"), include_str!("testdata/ec.pem")] {
        let start = file.find("-----BEGIN RSA PRIVATE").or(file.find("-----BEGIN EC PRIVATE")).unwrap();
        let key = file[start..].split_inclusive("KEY-----\n").take(2).collect::<String>();
        let needle = Needle::new(&key);
        let body = key.lines().nth(1).unwrap();
        for spoiled in [
            key.clone(),
            key.replace('\n', "\\n"),
            key.lines().skip(1).collect::<Vec<_>>().join("\n"),
            key.replacen("-----\n", "-----", 1),
            key.replacen("-----\n", "\n", 1),
            key.replacen(body, &format!("*{body}"), 1),
            key.replacen(body, &format!("{body}: {body}"), 1),
            key.replace("PRIVATE KEY", body),
            key.replace("RSA PRIVATE KEY", "CERTIFICATE").replace("EC PRIVATE KEY", "CERTIFICATE"),
        ] {
            for name in [TRUST, CERTIFICATE, KEY] {
                let mut secret = good.clone();
                let spoiled = ByteString(spoiled.clone().into_bytes());
                secret.data.as_mut().unwrap().insert(name.to_owned(), spoiled);
                let own =
                    examine([(Party::Contour, "a", Some(&secret)), (Party::Envoy, "b", Some(&good))], at(0));
                needle.assert_hidden_in(
                    name,
                    format!("{own:?} {:?}", own.problems.iter().map(ToString::to_string).collect::<Vec<_>>()),
                );
                let held = Secrets { authority: Some(secret.clone()), contour: Some(secret), envoy: None };
                needle.assert_hidden_in(name, format!("{held:?} {:?}", held.held()));
            }
        }
    }
}

/// cert-manager writes keys as PKCS #1 and SEC 1 unless told otherwise; OpenSSL made these.
#[test]
fn keys_of_the_user_may_be_in_any_form() {
    let secret = |certificate: &str, key: &str| {
        let data = [(TRUST, certificate), (CERTIFICATE, certificate), (KEY, key)];
        let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
        Secret { data: Some(data.into()), ..Secret::default() }
    };
    let (rsa, ec) = (include_str!("testdata/rsa.pem"), include_str!("testdata/ec.pem"));
    assert!(rsa.contains("BEGIN RSA PRIVATE KEY") && ec.contains("BEGIN EC PRIVATE KEY"));
    let (contour, envoy) = (secret(rsa, rsa), secret(ec, ec));
    let own = examine([(Party::Contour, "a", Some(&contour)), (Party::Envoy, "b", Some(&envoy))], at(0));
    let told: Vec<_> = own.problems.iter().map(ToString::to_string).collect();
    assert!(told.iter().all(|problem| problem.contains("no valid certificate in ca.crt")), "{told:?}");
    assert_eq!(own.certificates.len(), 2, "each pair is whole, though these two do not trust each other");
}

#[test]
fn what_was_never_written_is_in_no_silent_pod() {
    let mut world = World::new(&json!({"lifetime": "24h", "caLifetime": "24h"}));
    world.look(at(0), &[]);
    let before = world.secrets.clone();
    let due = 16 * 3600;
    world.look(at(due), &[]);
    // The API server took the authority's Secret, and the others only half an hour later.
    world.secrets = Secrets { authority: world.secrets.authority.clone(), ..before };
    let late = world.look(at(due + 1800), &Peer::SILENT);
    assert_eq!((late.changes, late.phase), (vec![], Phase::Distributing));
    assert_eq!(world.look(at(due + 1800 + 179), &Peer::SILENT).changes, []);
    assert_eq!(world.look(at(due + 1800 + 180), &Peer::SILENT).phase, Phase::Retiring);
    // Somebody's own value beside ours changes nothing.
    let steady = world.look(at(due + 9000), &Peer::SILENT);
    let written = world.children(&steady.held);
    let data = world.secrets.envoy.as_mut().unwrap().data.as_mut().unwrap();
    data.insert("theirs".to_owned(), ByteString(b"x".to_vec()));
    let mut again = written.clone();
    world.secrets.note_changes(&mut again, at(due + 9999));
    let stamp = |child: &Child| child.object.metadata.annotations.as_ref().unwrap()[CHANGED].clone();
    assert!(again.iter().all(|child| stamp(child) != at(due + 9999).to_string()));
}

#[test]
fn a_secret_lost_while_a_new_authority_becomes_known_is_made_anew_by_the_old_one() {
    let mut world = World::new(&json!({}));
    let first = world.look(at(0), &[]);
    let before: Vec<Peer> = Party::ALL.map(|party| world.reads(party)).into();
    let due = first.held.authority.as_ref().unwrap().certificate().renewal_at();
    let renewed = world.look(due, &before);
    assert_eq!(renewed.phase, Phase::Distributing);
    let keys = |world: &World| world.secrets.authority.as_ref().unwrap().data.as_ref().unwrap().len();
    assert_eq!(keys(&world), 5, "the old key is kept, and nowhere else");
    assert_eq!(world.secrets.envoy.as_ref().unwrap().data.as_ref().unwrap().len(), 3);

    world.secrets.contour = None;
    let healed = world.look(due, &before);
    let leaf = healed.held.contour.as_ref().unwrap().certificate();
    let old = first.held.authority.as_ref().unwrap().certificate();
    assert!(leaf.is_signed_by(old), "pods that have read nothing since trust it");

    let read: Vec<Peer> = Party::ALL.map(|party| world.reads(party)).into();
    assert_eq!(world.look(due, &read).phase, Phase::Retiring);
    assert_eq!(keys(&world), 3, "the old key is not needed any more");
}
