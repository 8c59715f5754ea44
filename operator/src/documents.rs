//! The objects of a file that somebody wrote: what `render` and `diff` are asked about. Pure.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use contour_crds::{ContourDeployment, ContourPolicy};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Spanned;

/// The group and version of our own kinds.
const OURS: &str = "operator.projectcontour.io/v1alpha1";

/// A `ContourDeployment` of a file.
#[derive(Clone, Debug)]
pub struct Written {
    /// File, document and object, for messages.
    pub place: String,
    /// The object, with a namespace.
    pub deployment: ContourDeployment,
}

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Its `ContourDeployment`s, in order.
    pub deployments: Vec<Written>,
    /// Its policies.
    pub policies: Vec<ContourPolicy>,
    /// Its namespaces, whose labels consent to be watched.
    pub namespaces: Vec<Namespace>,
    /// What was left out.
    pub notes: Vec<String>,
}

/// The text of a file, or of standard input for `-`, and what to call it.
pub(crate) fn read(file: &Path) -> Result<(String, String), String> {
    if file == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().read_to_string(&mut text);
        return match read {
            Ok(_) => Ok((text, "standard input".to_owned())),
            Err(error) => Err(format!("standard input: cannot be read: {error}")),
        };
    }
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| format!("{name}: cannot be read: {error}"))?;
    Ok((text, name))
}

impl Documents {
    /// Reads the documents of a file of YAML, or JSON. Objects that name no namespace are in this one.
    ///
    /// # Errors
    ///
    /// Everything that a cluster would not take, each with the file, the document and the cause. Empty documents are not counted.
    pub fn parse(text: &str, file: &str, namespace: &str) -> Result<Self, Vec<String>> {
        let mut reading = Reading { namespace, ..Reading::default() };
        let mut bytes = text.as_bytes();
        // As kubectl reads them: modes of files are written as 0644.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let all = serde_saphyr::read_with_options::<_, Spanned<Value>>(&mut bytes, options);
        for (index, document) in all.enumerate() {
            match document {
                Ok(document) => {
                    let place =
                        format!("{file}: document {} (line {})", index + 1, document.referenced.line());
                    reading.document(&place, document.value);
                }
                Err(error) => {
                    // The snippet would quote what may be a Secret.
                    let why = error.without_snippet();
                    reading.errors.push(format!("{file}: document {}: is not valid YAML: {why}", index + 1));
                }
            }
        }
        let Reading { found, errors, .. } = reading;
        if !errors.is_empty() {
            return Err(errors);
        }
        if found.deployments.is_empty() {
            return Err(vec![format!("{file}: there is no ContourDeployment in it")]);
        }
        Ok(found)
    }
}

/// A file that is being read.
#[derive(Default)]
struct Reading<'a> {
    namespace: &'a str,
    found: Documents,
    errors: Vec<String>,
    /// Where each object was found.
    places: BTreeMap<String, String>,
}

impl Reading<'_> {
    /// One document: an object, or a list of them.
    fn document(&mut self, place: &str, document: Value) {
        let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        if version.is_empty() || kind.is_empty() {
            self.errors.push(format!("{place}: is not a Kubernetes object, which has apiVersion and kind"));
            return;
        }
        match (version.as_str(), kind.as_str()) {
            (OURS, "ContourDeployment") => self.deployment(place, document),
            (OURS, "ContourPolicy") => {
                let policy = self.checked(&format!("{place}: ContourPolicy"), &document);
                self.found.policies.extend(policy);
            }
            ("v1", "Namespace") => {
                let namespace = self.checked(&format!("{place}: Namespace"), &document);
                self.found.namespaces.extend(namespace);
            }
            (_, list) if list.ends_with("List") && document["items"].is_array() => {
                let Value::Array(items) = document["items"].clone() else { return };
                for (index, item) in items.into_iter().enumerate() {
                    self.document(&format!("{place}, item {}", index + 1), item);
                }
            }
            (_, "ContourDeployment" | "ContourPolicy") => {
                self.errors.push(format!("{place}: {kind} of {version} is not known; {OURS} is"));
            }
            _ => {
                let name = document["metadata"]["name"].as_str().unwrap_or_default();
                self.found.notes.push(format!("{place}: {kind} {name} is ignored"));
            }
        }
    }

    fn deployment(&mut self, place: &str, mut document: Value) {
        let metadata = &mut document["metadata"];
        if metadata["namespace"].as_str().unwrap_or_default().is_empty() && !metadata["name"].is_null() {
            metadata["namespace"] = self.namespace.into();
        }
        let told = format!("ContourDeployment {}", named(&document["metadata"]));
        let place = format!("{place}: {told}");
        let Some(deployment) = self.checked::<ContourDeployment>(&place, &document) else { return };
        if let Some(first) = self.places.insert(told, place.clone()) {
            self.errors.push(format!("{place}: is there a second time; the first is {first}"));
        }
        self.found.deployments.push(Written { place, deployment });
    }

    /// An object that a cluster would take, by its schema.
    fn checked<T: DeserializeOwned>(&mut self, place: &str, document: &Value) -> Option<T> {
        if let Err(problems) = contour_files::object(document) {
            self.errors.extend(problems.into_iter().map(|problem| format!("{place}: {problem}")));
            return None;
        }
        serde_json::from_value(document.clone())
            .map_err(|error| self.errors.push(format!("{place}: {error}")))
            .ok()
    }
}

/// Namespace and name.
fn named(metadata: &Value) -> String {
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

/// How a `ContourDeployment` is told.
pub(crate) fn told(deployment: &ContourDeployment) -> String {
    format!("ContourDeployment {}/{}", deployment.namespace().unwrap_or_default(), deployment.name_any())
}
