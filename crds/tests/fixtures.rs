//! The fixtures in `fixtures/accept` can be read, and nothing they set is lost. That the API server accepts
//! them, and rejects those in `fixtures/reject`, is tested where there is an API server: `e2e/tests/crds.rs`.

use contour_crds::{
    ContourConfiguration, ContourDeployment, ContourPolicy, ExtensionService, HTTPProxy,
    TLSCertificateDelegation,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn accepted_objects_can_be_read() {
    let files = accepted_files();
    assert!(files.len() > 40, "only {} fixtures are left", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("the fixture can be read");
        let mut object: Value = serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("{} is not YAML: {error}", file.display()));
        as_served(&mut object);
        match object["kind"].as_str() {
            Some("HTTPProxy") => check::<HTTPProxy>(&file, &object),
            Some("TLSCertificateDelegation") => check::<TLSCertificateDelegation>(&file, &object),
            Some("ExtensionService") => check::<ExtensionService>(&file, &object),
            Some("ContourConfiguration") => check::<ContourConfiguration>(&file, &object),
            Some("ContourPolicy") => check::<ContourPolicy>(&file, &object),
            Some("ContourDeployment") => check::<ContourDeployment>(&file, &object),
            other => panic!("{} is of the kind {other:?}", file.display()),
        }
    }
}

/// What is read, written and read again is the same: writing loses nothing that the type holds.
fn check<K: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(file: &Path, object: &Value) {
    let read = |object: &Value| -> K {
        serde_json::from_value(object.clone())
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()))
    };
    let first = read(object);
    let written = serde_json::to_value(&first).expect("the object can be written");
    assert_eq!(read(&written), first, "{}", file.display());
}

/// Brings an object into the form in which the API server serves it: without fields that are null, as none of
/// these schemas allows null, and with whole numbers written as such.
fn as_served(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(as_served);
        }
        Value::Array(items) => items.iter_mut().for_each(as_served),
        Value::Number(number) if number.is_f64() => {
            let whole = format!("{:.0}", number.as_f64().expect("just asked"));
            *value = serde_json::from_str(&whole).expect("a whole number is JSON");
        }
        _ => {}
    }
}

fn accepted_files() -> Vec<PathBuf> {
    let accept = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/accept");
    let entries = |directory: &Path| -> Vec<PathBuf> {
        let listed =
            fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        listed.map(|entry| entry.expect("the directory can be listed").path()).collect()
    };
    let files = entries(&accept).into_iter().flat_map(|directory| entries(&directory));
    files.filter(|file| !file.to_string_lossy().ends_with(".stored.yaml")).collect()
}
