//! Envoy's bootstrap, by the same code as `contour bootstrap`, in a ConfigMap: no container of another version has to write it.
//!
//! The ConfigMap is named by its content, and cannot be changed: a container that is started again finds the bootstrap that its pod was made
//! with, whatever has been asked for since.

use std::collections::BTreeMap;

use contour_envoy::bootstrap::{Bootstrap, BootstrapFiles, TlsFiles};
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, KeyToPath, Volume};

use super::meta::{self, Component};
use super::{Inputs, hash};
use crate::patch::{Patched, Target};
use crate::settings::XDS_PORT;

/// Where the bootstrap is mounted.
pub(super) const DIRECTORY: &str = "/config";

/// The file that Envoy is started with.
pub(super) const FILE: &str = "envoy.json";

/// Where Envoy's certificate is mounted.
pub(super) const CERTIFICATES: &str = "/certs";

/// The path of Envoy's administration.
pub(super) const ADMIN_SOCKET: &str = "/admin/admin.sock";

/// The ConfigMap with the bootstrap and the files that it refers to, each by its file name.
pub(super) fn bootstrap(inputs: &Inputs<'_>) -> ConfigMap {
    let files = files(inputs).into_iter();
    let data: BTreeMap<_, _> = files.map(|(path, content)| (key(&path).to_owned(), content)).collect();
    ConfigMap {
        metadata: meta::namespaced(inputs, Component::Envoy, &name(inputs, &hash(&data))),
        data: Some(data),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// The name of the ConfigMap whose content has this hash.
fn name(inputs: &Inputs<'_>, hash: &str) -> String {
    format!("{}-{hash}", inputs.names.bootstrap)
}

/// The volume with each file of the ConfigMap whose content has this hash, at the path that the bootstrap has for it.
pub(super) fn volume(inputs: &Inputs<'_>, volume: &str, content: &str) -> Volume {
    let item =
        |path: &String| KeyToPath { key: key(path).to_owned(), path: path.clone(), ..KeyToPath::default() };
    Volume {
        name: volume.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: name(inputs, content),
            items: Some(files(inputs).keys().map(item).collect()),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The bootstrap, without and with its patch.
pub(crate) fn content(inputs: &Inputs<'_>) -> Patched<serde_json::Value> {
    patched(inputs, rendered(inputs).bootstrap)
}

/// The content of each file, by its path below [`DIRECTORY`].
fn files(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let rendered = rendered(inputs);
    let below = |path: &str| path.strip_prefix(DIRECTORY).unwrap_or(path).trim_start_matches('/').to_owned();
    let text = |content: &serde_json::Value| format!("{content:#}\n");
    let mut files: BTreeMap<_, _> =
        rendered.resources.iter().map(|(path, content)| (below(path), text(content))).collect();
    files.insert(FILE.to_owned(), text(&patched(inputs, rendered.bootstrap).made()));
    files
}

fn rendered(inputs: &Inputs<'_>) -> BootstrapFiles {
    let overload = inputs.deployment.spec.envoy.overload;
    let file = |name: &str| format!("{CERTIFICATES}/{name}");
    let bootstrap = Bootstrap {
        admin_socket: ADMIN_SOCKET.to_owned(),
        admin_port: inputs.settings().ports.admin,
        namespace: inputs.names.namespace.clone(),
        max_heap_bytes: overload.max_heap_bytes.unwrap_or_default(),
        max_downstream_connections: overload.max_downstream_connections.unwrap_or_default(),
        resources_dir: Some(format!("{DIRECTORY}/resources")),
        tls: Some(TlsFiles { ca: file("ca.crt"), certificate: file("tls.crt"), key: file("tls.key") }),
        xds_address: inputs.names.contour.clone(),
        xds_port: XDS_PORT,
        ..Bootstrap::default()
    };
    bootstrap.render().expect("the paths and the name of a Service make a bootstrap")
}

fn patched(inputs: &Inputs<'_>, plain: serde_json::Value) -> Patched<serde_json::Value> {
    Patched::of(Target::Bootstrap, plain, &inputs.deployment.spec.envoy.bootstrap_patch)
}

/// The key of a file: its name, since a key cannot have a slash.
fn key(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
