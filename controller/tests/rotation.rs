//! A real Envoy follows the rotation: bootstrap, certificates and their directories fit together.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contour_certs::{Outcome, Policy, ensure};
use contour_e2e::envoy::{Envoy, Launch};
use contour_e2e::wait::{SOON, eventually};
use contour_envoy::bootstrap::{Bootstrap, TlsFiles};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// The controller's side of the connection, with the files as they are now.
fn acceptor(state: &Path) -> TlsAcceptor {
    let directory = state.join("contour");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(directory.join("ca.crt")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let chain =
        CertificateDer::pem_file_iter(directory.join("tls.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(directory.join("tls.key")).unwrap();
    let config =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let config = config.unwrap().with_client_cert_verifier(verifier).with_single_cert(chain, key);
    let mut config = config.unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// What Envoy did last when it connected: the certificate it showed, or why one side refused the other.
type Seen = watch::Receiver<Result<Option<CertificateDer<'static>>, String>>;

/// Accepts connections of Envoy for as long as the test runs. Each is dropped after the handshake, so Envoy comes again. Stops
/// at the first handshake that fails because of a certificate.
fn serve(listener: TcpListener, state: PathBuf) -> Seen {
    let (seen, receiver) = watch::channel(Ok(None));
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            match acceptor(&state).accept(connection).await {
                Ok(tls) => {
                    let shown = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    let _ = seen.send_replace(Ok(shown.cloned().map(CertificateDer::into_owned)));
                }
                // rustls' own errors; others are connections that Envoy gave up.
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    let _ = seen.send_replace(Err(error.to_string()));
                    return;
                }
                Err(_) => {}
            }
        }
    });
    receiver
}

/// Waits until Envoy shows the certificate that its directory holds now.
async fn shows_present_certificate(seen: &mut Seen, state: &Path) {
    let present = CertificateDer::from_pem_file(state.join("envoy/tls.crt")).unwrap();
    let showing = seen.wait_for(|seen| seen.as_ref().map_or(true, |shown| shown.as_ref() == Some(&present)));
    let seen = timeout(SOON, showing).await.expect("Envoy shows the certificate that was issued last");
    assert!(seen.as_ref().unwrap().is_ok(), "{seen:?}");
}

fn write_bootstrap(directory: &Path, state: &Path, port: u16) -> PathBuf {
    let file = |name: &str| state.join("envoy").join(name).to_str().unwrap().to_owned();
    let settings = Bootstrap {
        admin_socket: directory.join("admin.sock").to_str().unwrap().to_owned(),
        resources_dir: Some(directory.to_str().unwrap().to_owned()),
        tls: Some(TlsFiles { ca: file("ca.crt"), certificate: file("tls.crt"), key: file("tls.key") }),
        xds_port: port,
        ..Bootstrap::default()
    };
    let files = settings.render().unwrap();
    fs::create_dir(directory.join("sds")).unwrap();
    for (path, content) in files.resources {
        fs::write(path, content.to_string()).unwrap();
    }
    let path = directory.join("envoy.json");
    fs::write(&path, files.bootstrap.to_string()).unwrap();
    path
}

/// How often Envoy has read its TLS files anew.
async fn reloads(envoy: &Envoy) -> u64 {
    let name = "cluster.projectcontour_contour_.*.client_ssl_socket_factory.ssl_context_update_by_sds";
    envoy.stats(name).await.unwrap().into_values().sum()
}

#[tokio::test]
async fn envoy_follows_new_leaves_and_new_authorities_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("certs");
    // A whole rotation within a day: certificates start to be valid a day before they are issued, so the steps can be taken one
    // after the other without waiting for their time.
    let policy = Policy {
        ca_lifetime: Duration::from_hours(30),
        leaf_lifetime: Duration::from_hours(20),
        ..Policy::default()
    };
    let mut ensured = ensure(&state, Timestamp::now(), &policy).unwrap();
    let first_ca = fs::read_to_string(state.join("ca/tls.crt")).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bootstrap = write_bootstrap(directory.path(), &state, listener.local_addr().unwrap().port());
    let mut seen = serve(listener, state.clone());
    let envoy = Launch::file(bootstrap).node("envoy", "contour").start().await.unwrap();
    shows_present_certificate(&mut seen, &state).await;

    let mut steps = Vec::new();
    while fs::read_to_string(state.join("envoy/ca.crt")).unwrap().contains(&first_ca) {
        let before = reloads(&envoy).await;
        ensured = ensure(&state, ensured.next, &policy).unwrap();
        assert_eq!(ensured.outcome, Outcome::Renewed);
        steps.push(ensured.notes.len());
        eventually(SOON, async || {
            anyhow::ensure!(reloads(&envoy).await > before, "not read since step {}", steps.len());
            Ok(())
        })
        .await
        .unwrap();
        shows_present_certificate(&mut seen, &state).await;
    }
    assert_eq!(steps, [2, 1, 2, 1], "leaves; a CA; leaves of it; the old CA dropped");
}
