//! The bootstrap: as golden JSON, and as Envoy sees it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use contour_e2e::certs::TestCa;
use contour_envoy::bootstrap::{Bootstrap, BootstrapError, DnsLookupFamily, TlsFiles, XdsMode};
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::Value;

fn tls() -> TlsFiles {
    TlsFiles {
        ca: "/certs/ca.crt".into(),
        certificate: "/certs/tls.crt".into(),
        key: "/certs/tls.key".into(),
    }
}

fn bootstrap(settings: &Bootstrap) -> Value {
    settings.render().unwrap().bootstrap
}

fn contour_cluster(settings: &Bootstrap) -> Value {
    bootstrap(settings)["static_resources"]["clusters"][0].take()
}

#[test]
fn defaults() {
    let files = Bootstrap::default().render().unwrap();
    assert!(files.resources.is_empty());
    assert_json_snapshot!(files.bootstrap);
}

#[test]
fn tls_with_files_read_once() {
    let settings = Bootstrap { tls: Some(tls()), ..Bootstrap::default() };
    assert!(settings.render().unwrap().resources.is_empty());
    assert_json_snapshot!(contour_cluster(&settings)["transport_socket"]);
}

#[test]
fn tls_with_files_that_rotate() {
    let settings =
        Bootstrap { tls: Some(tls()), resources_dir: Some("/config/".into()), ..Bootstrap::default() };
    assert_json_snapshot!("rotating_transport_socket", contour_cluster(&settings)["transport_socket"]);
    assert_json_snapshot!("rotating_resources", settings.render().unwrap().resources);
}

#[test]
fn overload() {
    let settings =
        Bootstrap { max_heap_bytes: u64::MAX, max_downstream_connections: 50_000, ..Bootstrap::default() };
    assert_json_snapshot!(bootstrap(&settings)["overload_manager"]);
    let connections_only = Bootstrap { max_heap_bytes: 0, ..settings };
    assert_eq!(bootstrap(&connections_only)["overload_manager"].get("actions"), None);
}

#[rstest]
#[case::ipv4("10.0.0.1", DnsLookupFamily::Auto, "STATIC", "AUTO")]
#[case::ipv6("fd00::1", DnsLookupFamily::V6, "STATIC", "V6_ONLY")]
#[case::name("contour", DnsLookupFamily::V4, "STRICT_DNS", "V4_ONLY")]
#[case::long_name("contour.ns.svc", DnsLookupFamily::All, "STRICT_DNS", "ALL")]
fn the_controller_is_found_by_address_or_name(
    #[case] address: &str,
    #[case] dns_lookup_family: DnsLookupFamily,
    #[case] discovery: &str,
    #[case] family: &str,
) {
    let settings =
        Bootstrap { xds_address: address.into(), xds_port: 1, dns_lookup_family, ..Bootstrap::default() };
    let cluster = contour_cluster(&settings);
    let found = (&cluster["type"], &cluster["dns_lookup_family"], &cluster["alt_stat_name"]);
    assert_eq!(found, (&discovery.into(), &family.into(), &"projectcontour_contour_1".into()));
}

#[test]
fn state_of_the_world_is_one_word() {
    let settings = Bootstrap { xds_mode: XdsMode::Sotw, ..Bootstrap::default() };
    let mut expected = bootstrap(&Bootstrap::default());
    expected["dynamic_resources"]["ads_config"]["api_type"] = "GRPC".into();
    assert_eq!(bootstrap(&settings), expected);
}

#[rstest]
#[case("localhost")]
#[case("127.0.0.1")]
#[case("::1")]
#[case("0.0.0.0:9001")]
fn the_administration_never_has_an_address(#[case] admin_socket: &str) {
    let settings = Bootstrap { admin_socket: admin_socket.into(), ..Bootstrap::default() };
    let error = settings.render().unwrap_err();
    assert_eq!(error, BootstrapError::AdminOnNetwork(admin_socket.into()));
    assert!(error.to_string().contains("cannot be `localhost` or an IP address"), "{error}");
}

#[test]
fn what_envoy_would_refuse_is_refused_here() {
    let refused = |settings: Bootstrap| settings.render().unwrap_err().to_string();
    let long = Bootstrap { admin_socket: "/".repeat(108), ..Bootstrap::default() };
    assert!(refused(long).ends_with("a path of 1 to 107 bytes is needed for a Unix domain socket"));
    let nowhere = Bootstrap { xds_address: String::new(), ..Bootstrap::default() };
    assert!(refused(nowhere).starts_with("the xDS address is empty"));
    let keyless = Bootstrap { tls: Some(TlsFiles { key: String::new(), ..tls() }), ..Bootstrap::default() };
    assert!(refused(keyless).starts_with("the key of the xDS connection is an empty path"));
}

/// Every shape that settings can give a bootstrap.
fn shapes(directory: &str) -> Vec<Bootstrap> {
    let path = |name: &str| format!("{directory}/{name}");
    let tls = TlsFiles { ca: path("ca.crt"), certificate: path("tls.crt"), key: path("tls.key") };
    let plain = Bootstrap { admin_socket: path("admin.sock"), ..Bootstrap::default() };
    let named = Bootstrap { xds_address: "contour.projectcontour".into(), ..plain.clone() };
    let all_families = Bootstrap { dns_lookup_family: DnsLookupFamily::All, ..named.clone() };
    let once = Bootstrap { tls: Some(tls), ..named.clone() };
    let rotating = Bootstrap { resources_dir: Some(path("config")), ..once.clone() };
    let limited =
        Bootstrap { max_heap_bytes: u64::MAX, max_downstream_connections: 50_000, ..rotating.clone() };
    let sotw = Bootstrap { xds_mode: XdsMode::Sotw, xds_address: "::1".into(), ..rotating.clone() };
    vec![plain, named, all_families, once, rotating, limited, sotw]
}

#[test]
fn envoy_accepts_every_shape() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let ca = TestCa::new("Project Contour").unwrap();
    let leaf = ca.client("envoy").unwrap();
    fs::write(root.join("ca.crt"), ca.pem()).unwrap();
    fs::write(root.join("tls.crt"), &leaf.cert_pem).unwrap();
    fs::write(root.join("tls.key"), &leaf.key_pem).unwrap();
    fs::create_dir_all(root.join("config/sds")).unwrap();
    for settings in shapes(root.to_str().unwrap()) {
        let files = settings.render().unwrap();
        for (path, content) in &files.resources {
            fs::write(path, content.to_string()).unwrap();
        }
        let config = root.join("bootstrap.json");
        fs::write(&config, files.bootstrap.to_string()).unwrap();
        let envoy = Command::new(contour_e2e::envoy::binary().unwrap())
            .args(["--mode", "validate", "--service-node", "n", "--service-cluster", "c", "-c"])
            .arg(&config)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&envoy.stderr);
        assert!(envoy.status.success(), "{settings:?}\n{log}");
        assert!(!log.contains("deprecated"), "{settings:?}\n{log}");
    }
}
