//! TLS to the controller: Envoy's certificate, and whom it takes for the controller.

use std::path::Path;

use serde_json::{Value, json};

use super::{Bootstrap, TlsFiles};

/// Name of the Secret with Envoy's certificate and key.
const CERTIFICATE: &str = "contour_xds_tls_certificate";
/// Name of the Secret with the CAs.
const VALIDATION: &str = "contour_xds_tls_validation_context";

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// What the controller may sign with. Listed since Envoy's default has no ECDSA on P-521, which CAs of users have.
const SIGNATURE_ALGORITHMS: [&str; 9] = [
    "ecdsa_secp256r1_sha256",
    "rsa_pss_rsae_sha256",
    "rsa_pkcs1_sha256",
    "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha384",
    "rsa_pkcs1_sha384",
    "ecdsa_secp521r1_sha512",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha512",
];

impl Bootstrap {
    /// The transport socket of the controller's cluster; `None` for plain text.
    pub(super) fn transport_socket(&self) -> Option<Value> {
        let tls = self.tls.as_ref()?;
        let mut common = json!({"tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "signature_algorithms": SIGNATURE_ALGORITHMS,
        }});
        if let Some([certificate, validation]) = self.resource_paths() {
            common["tls_certificate_sds_secret_configs"] = json!([secret_config(CERTIFICATE, &certificate)]);
            common["validation_context_sds_secret_config"] = secret_config(VALIDATION, &validation);
        } else {
            common["tls_certificates"] = json!([certificate(tls)]);
            common["validation_context"] = validation(tls);
        }
        Some(json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": format!("{TLS}.UpstreamTlsContext"), "common_tls_context": common},
        }))
    }

    /// The Secrets that Envoy reads from files, and again whenever the TLS files are swapped.
    pub(super) fn tls_resources(&self) -> Vec<(String, Value)> {
        let (Some(tls), Some([certificate_path, validation_path])) = (&self.tls, self.resource_paths())
        else {
            return Vec::new();
        };
        let mut certificate = certificate(tls);
        certificate["watched_directory"] = json!({"path": directory(&tls.certificate)});
        let mut validation = validation(tls);
        validation["watched_directory"] = json!({"path": directory(&tls.ca)});
        vec![
            (certificate_path, secret(CERTIFICATE, "tls_certificate", &certificate)),
            (validation_path, secret(VALIDATION, "validation_context", &validation)),
        ]
    }

    fn resource_paths(&self) -> Option<[String; 2]> {
        let directory = self.resources_dir.as_deref()?.trim_end_matches('/');
        let path = |name| format!("{directory}/sds/{name}.json");
        Some([path("xds-tls-certificate"), path("xds-validation-context")])
    }
}

fn certificate(tls: &TlsFiles) -> Value {
    json!({"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}})
}

/// The controller is whoever has a certificate for the name `contour`, at whatever address.
fn validation(tls: &TlsFiles) -> Value {
    json!({
        "trusted_ca": {"filename": tls.ca},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "contour"}}],
    })
}

fn secret_config(name: &str, path: &str) -> Value {
    let source = json!({"path": path, "watched_directory": {"path": directory(path)}});
    json!({"name": name, "sds_config": {"path_config_source": source, "resource_api_version": "V3"}})
}

fn secret(name: &str, kind: &str, content: &Value) -> Value {
    json!({"resources": [{"@type": format!("{TLS}.Secret"), "name": name, kind: content}]})
}

/// The directory of a file, for Envoy to watch: `.` if the path has none.
fn directory(path: &str) -> String {
    let parent = Path::new(path).parent().and_then(Path::to_str).unwrap_or_default();
    if parent.is_empty() { String::from(".") } else { parent.to_owned() }
}
