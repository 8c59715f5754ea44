//! What a TLS library thinks of the certificates: the one that the controller serves xDS with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use contour_certs::{
    Authority, Certificate, Change, Credentials, Held, KeyAlgorithm, Leaf, Party, Peer, Policy, advance,
};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection};

fn roots(bundle: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    Arc::new(roots)
}

fn identity(leaf: &Leaf) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(leaf.chain().as_bytes()).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(leaf.key().pem().as_bytes()).unwrap())
}

/// A TLS 1.3 handshake in memory, both sides verifying the other by `bundle`.
fn handshake(bundle: &str, server: &Leaf, client: &Leaf) -> Result<(), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13];
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(bundle), provider.clone()).build().unwrap();
    let (chain, key) = identity(server);
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions)?;
    let server = server.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    let (chain, key) = identity(client);
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    let client = client.with_root_certificates(roots(bundle)).with_client_auth_cert(chain, key)?;

    let mut server = ServerConnection::new(Arc::new(server))?;
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("contour").unwrap())?;
    while server.is_handshaking() || client.is_handshaking() || client.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn leaves(held: &Held) -> [Leaf; 2] {
    Party::ALL.map(|party| held.leaf(party).unwrap().clone())
}

#[test]
fn each_side_is_accepted_by_the_other_for_its_purpose_only() {
    for key_algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
        let policy = Policy { key_algorithm, ..Policy::default() };
        let held = advance(Held::default(), Timestamp::now(), &Peer::SILENT, &policy).unwrap().held;
        let [contour, envoy] = leaves(&held);
        handshake(&held.trust_bundle(), &contour, &envoy).unwrap();
        handshake(&held.trust_bundle(), &contour, &contour).unwrap(); // `contour cli`
        handshake(&held.trust_bundle(), &envoy, &envoy).unwrap_err();

        let other = Authority::create(Timestamp::now(), Duration::from_hours(1), key_algorithm).unwrap();
        handshake(other.certificate().pem(), &contour, &envoy).unwrap_err();
    }
}

#[test]
fn leaves_of_two_cas_meet_during_a_rotation() {
    let policy = Policy::default();
    let settle = SignedDuration::try_from(policy.settle).unwrap();
    // The CA becomes due a settling time before now.
    let ca_life = SignedDuration::try_from(policy.ca_lifetime).unwrap();
    let begin = Timestamp::now() - settle * 2 - ca_life * 2 / 3;
    let first = advance(Held::default(), begin, &Peer::SILENT, &policy).unwrap();
    let fresh = |held: Held, now| {
        advance(Held { contour: None, envoy: None, ..held }, now, &Peer::SILENT, &policy).unwrap()
    };
    let first = fresh(first.held, begin + ca_life / 2);
    let [old_contour, old_envoy] = leaves(&first.held);

    let second = advance(first.held, Timestamp::now() - settle, &Peer::SILENT, &policy).unwrap();
    assert_eq!(second.held.trusted.len(), 1);
    let bundle = second.held.trust_bundle();
    let third = advance(second.held, Timestamp::now(), &Peer::SILENT, &policy).unwrap();
    let [contour, envoy] = leaves(&third.held);
    assert_ne!(contour, old_contour);
    for server in [&contour, &old_contour] {
        for client in [&envoy, &old_envoy] {
            handshake(&bundle, server, client).unwrap();
            handshake(&third.held.trust_bundle(), server, client).unwrap();
        }
    }
}

/// What `contour certgen` of Contour 1.33.8 made: RSA keys in PKCS #1, by a CA whose key it does not keep.
fn stock() -> Held {
    let leaf = |certificate, key| Some(Leaf::load(certificate, key).unwrap());
    Held {
        trusted: vec![Certificate::parse(include_str!("stock/cacert.pem")).unwrap()],
        contour: leaf(include_str!("stock/contourcert.pem"), include_str!("stock/contourkey.pem")),
        envoy: leaf(include_str!("stock/envoycert.pem"), include_str!("stock/envoykey.pem")),
        ..Held::default()
    }
}

#[test]
fn certificates_of_the_stock_tool_are_followed_by_ours_once_everyone_trusts_them() {
    let (policy, now) = (Policy::default(), Timestamp::now());
    let (stock_bundle, [stock_contour, stock_envoy]) = (stock().trust_bundle(), leaves(&stock()));
    let knows = |authorities: &Held, shown: &Leaf| {
        let authorities = Certificate::parse_all(&authorities.trust_bundle()).unwrap();
        Some(Credentials::of(&authorities, shown.certificate()))
    };
    let peers = |held: &Held, shown: &[Leaf; 2]| {
        let peer = |party, shown| Peer { party, credentials: knows(held, shown) };
        [peer(Party::Contour, &shown[0]), peer(Party::Envoy, &shown[1])]
    };

    // Nobody knows of ours yet: it is trusted from now on, and nothing else changes.
    let unread = peers(&stock(), &leaves(&stock()));
    let first = advance(stock(), now, &unread, &policy).unwrap();
    assert_eq!(first.changes, [Change::AuthorityCreated]);
    assert_eq!(leaves(&first.held), leaves(&stock()));
    let both = first.held.trust_bundle();
    let again = advance(first.held, now, &unread, &policy).unwrap();
    assert_eq!(again.changes, []);

    let read = peers(&again.held, &leaves(&stock()));
    let second = advance(again.held, now, &read, &policy).unwrap();
    assert_eq!(second.changes, [Change::LeafIssued(Party::Contour), Change::LeafIssued(Party::Envoy)]);
    let [contour, envoy] = leaves(&second.held);
    // Whoever has read which step, the two understand each other.
    handshake(&stock_bundle, &stock_contour, &stock_envoy).unwrap();
    for server in [&contour, &stock_contour] {
        for client in [&envoy, &stock_envoy] {
            handshake(&both, server, client).unwrap();
        }
    }

    let shown = peers(&second.held, &leaves(&second.held));
    let third = advance(second.held, now, &shown, &policy).unwrap();
    assert_eq!(third.changes, [Change::AuthorityDropped]);
    handshake(&third.held.trust_bundle(), &contour, &envoy).unwrap();
}
