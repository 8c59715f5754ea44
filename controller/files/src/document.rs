//! One document: which object it is, whether a cluster would take it, and what it says.

use std::fmt;
use std::sync::{Arc, LazyLock};

use contour_crds::patterns::{DNS_LABEL, HOST_NAME};
use contour_crds::{ContourDeployment, HTTPProxy, TLSCertificateDelegation, schema_for};
use contour_objects::{EndpointSlice, Object, Proxy};
use k8s_openapi::api::{core, discovery, networking};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::builtin;
use crate::problem::Severity;
use crate::schema::{self, Path, Schema, Step, Violation};
use crate::yaml::Node;

/// Which object a document is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its kind, without group and version: no two kinds read here share a name.
    pub(crate) kind: &'static str,
    /// Its namespace; empty for cluster-scoped objects.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// A document that holds a valid object.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Which object it is.
    pub(crate) key: Key,
    /// Where it starts.
    pub(crate) line: u32,
    /// What it says.
    pub(crate) content: Content,
}

/// What a document says.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// An HTTPProxy, its generation still unset, and a digest of its spec.
    Proxy(Arc<Proxy>, u64),
    /// An object of any other kind the store holds.
    Object(Object),
    /// The settings of the installation.
    Deployment(Arc<ContourDeployment>),
    /// An object nothing is made of.
    Unused,
}

/// What became of a document.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is a valid object.
    Valid(Document),
    /// It is this object, which a cluster would refuse.
    Invalid(Key),
    /// It is an object, but there is no telling which.
    Unnamed,
    /// It is nothing that is read here.
    Foreign,
}

/// Something to tell about a document.
#[derive(Debug)]
pub(crate) struct Issue {
    /// The line it is about.
    pub(crate) line: u32,
    /// The object, where it is known.
    pub(crate) object: Option<String>,
    /// Whether it keeps the object from applying.
    pub(crate) severity: Severity,
    /// What is wrong.
    pub(crate) message: String,
}

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// What is to be told about it.
    pub(crate) issues: Vec<Issue>,
}

/// A kind that is read here.
struct Known {
    api_version: &'static str,
    kind: &'static str,
    namespaced: bool,
    schema: Schema,
    /// Whether a field the schema does not know keeps the object from applying, or is only left out.
    strict: bool,
    /// What no schema can tell.
    rules: fn(&Value) -> Vec<Violation>,
    read: fn(Value) -> Result<Content, serde_json::Error>,
}

const CONTOUR: &str = "projectcontour.io/v1";
const CONTOUR_ALPHA: &str = "projectcontour.io/v1alpha1";

static KINDS: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let mut slices = builtin::<discovery::v1::EndpointSlice>("discovery.k8s.io/v1", "EndpointSlice", |v| {
        let slice = EndpointSlice::parse_own(serde_json::from_value(v)?);
        Ok(slice.map_or(Content::Unused, |slice| Content::Object(Object::EndpointSlice(Arc::new(slice)))))
    });
    slices.rules = builtin::slice_rules;
    let mut services = builtin::<core::v1::Service>("v1", "Service", |v| {
        Ok(Content::Object(Object::Service(Arc::new(typed::<core::v1::Service, _>(v)?))))
    });
    services.rules = builtin::port_names;
    let mut namespaces = builtin::<core::v1::Namespace>("v1", "Namespace", |v| {
        Ok(Content::Object(Object::Namespace(Arc::new(typed::<core::v1::Namespace, _>(v)?))))
    });
    namespaces.namespaced = false;
    let mut policies =
        custom("operator.projectcontour.io/v1alpha1", "ContourPolicy", |_| Ok(Content::Unused));
    policies.namespaced = false;
    vec![
        custom(CONTOUR, "HTTPProxy", |v| {
            let proxy: Proxy = typed::<HTTPProxy, _>(v)?;
            let digest = xxh3_64(&serde_json::to_vec(&proxy.spec)?);
            Ok(Content::Proxy(Arc::new(proxy), digest))
        }),
        custom(CONTOUR, "TLSCertificateDelegation", |v| {
            Ok(Content::Object(Object::Delegation(Arc::new(typed::<TLSCertificateDelegation, _>(v)?))))
        }),
        custom("operator.projectcontour.io/v1alpha1", "ContourDeployment", |v| {
            Ok(Content::Deployment(Arc::new(typed::<ContourDeployment, _>(v)?)))
        }),
        policies,
        custom(CONTOUR_ALPHA, "ExtensionService", |_| Ok(Content::Unused)),
        custom(CONTOUR_ALPHA, "ContourConfiguration", |_| Ok(Content::Unused)),
        builtin::<networking::v1::Ingress>("networking.k8s.io/v1", "Ingress", |v| {
            Ok(Content::Object(Object::Ingress(Arc::new(typed::<networking::v1::Ingress, _>(v)?))))
        }),
        builtin::<core::v1::Secret>("v1", "Secret", |v| {
            Ok(Content::Object(Object::Secret(Arc::new(typed::<core::v1::Secret, _>(v)?))))
        }),
        services,
        slices,
        namespaces,
    ]
});

static METADATA: LazyLock<Schema> = LazyLock::new(|| builtin::schema_of::<ObjectMeta>("ObjectMeta"));

fn typed<T: DeserializeOwned, U: From<T>>(value: Value) -> Result<U, serde_json::Error> {
    serde_json::from_value::<T>(value).map(U::from)
}

fn custom(
    api_version: &'static str,
    kind: &'static str,
    read: fn(Value) -> Result<Content, serde_json::Error>,
) -> Known {
    let schema = schema_for(kind).expect("every custom kind read here is one of contour-crds");
    let schema: Schema = serde_json::from_value(schema).expect("the schemas of contour-crds are structural");
    let schema = schema.without("metadata").without("status");
    Known { api_version, kind, namespaced: true, schema, strict: true, rules: |_| Vec::new(), read }
}

fn builtin<T: schemars::JsonSchema>(
    api_version: &'static str,
    kind: &'static str,
    read: fn(Value) -> Result<Content, serde_json::Error>,
) -> Known {
    let schema = builtin::schema_of::<T>(kind).without("metadata").without("status");
    Known { api_version, kind, namespaced: true, schema, strict: false, rules: |_| Vec::new(), read }
}

/// What the documents of a file say; each is let go of when it is read.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// How many documents there are.
    pub(crate) documents: usize,
    /// What became of each, and of each item of a list.
    pub(crate) all: Vec<Reading>,
}

impl Extend<Node> for Readings {
    fn extend<T: IntoIterator<Item = Node>>(&mut self, nodes: T) {
        for node in nodes {
            self.documents += 1;
            self.all.extend(read(&node));
        }
    }
}

/// Reads a document, or each item of a `List`.
pub(crate) fn read(node: &Node) -> Vec<Reading> {
    read_as(node, None)
}

/// Reads a document. Items of a list like `SecretList` may leave out what they are.
fn read_as(node: &Node, item: Option<(&str, &str)>) -> Vec<Reading> {
    let said = node.text("apiVersion").zip(node.text("kind"));
    let Some((api_version, kind)) = said.or(item) else {
        return vec![unnamed(node.line, "is not a Kubernetes object, which has apiVersion and kind")];
    };
    if let Some(items_are) = kind.strip_suffix("List") {
        let item = Some((api_version, items_are)).filter(|_| !items_are.is_empty());
        return match node.list("items") {
            Some(items) => items.iter().flat_map(|node| read_as(node, item)).collect(),
            None if node.is_null("items") => Vec::new(),
            None => vec![unnamed(node.line, "is a list without items")],
        };
    }
    let known = KINDS.iter().filter(|known| known.kind == kind);
    if let Some(known) = known.clone().find(|known| known.api_version == api_version) {
        return vec![known.read(node)];
    }
    let message = match known.map(|known| known.api_version).next() {
        Some(right) => format!("{kind} of {api_version} is not read; {right} is"),
        None => format!("{kind} of {api_version} is not read"),
    };
    let issue = Issue { line: node.line, object: None, severity: Severity::Warning, message };
    vec![Reading { outcome: Outcome::Foreign, issues: vec![issue] }]
}

fn unnamed(line: u32, message: &str) -> Reading {
    let issue = Issue { line, object: None, severity: Severity::Error, message: message.to_owned() };
    Reading { outcome: Outcome::Unnamed, issues: vec![issue] }
}

impl Known {
    fn read(&self, node: &Node) -> Reading {
        let mut object = match node.to_json() {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        object.entry("apiVersion").or_insert_with(|| self.api_version.into());
        object.entry("kind").or_insert_with(|| self.kind.into());
        object.remove("status");
        let mut metadata = object.remove("metadata").filter(Value::is_object).unwrap_or_else(|| json!({}));
        // Who wrote which field, by the API server: nothing that is meant to be read back.
        metadata.as_object_mut().map(|fields| fields.remove("managedFields"));
        let found = schema::check(&METADATA, &mut metadata, self.kind != "Secret");
        let mut violations: Vec<_> = found.into_iter().map(within_metadata).collect();
        let key = match self.key(&mut metadata) {
            Ok(key) => key,
            Err(violation) => {
                violations.push(violation);
                let issues = violations.iter().map(|v| self.issue(node, None, v)).collect();
                return Reading { outcome: Outcome::Unnamed, issues };
            }
        };
        let mut object = Value::Object(object);
        violations.extend(schema::check(&self.schema, &mut object, self.kind != "Secret"));
        violations.extend((self.rules)(&object));
        object["metadata"] = metadata;
        let mut issues: Vec<_> = violations.iter().map(|v| self.issue(node, Some(&key), v)).collect();
        if issues.iter().any(|issue| issue.severity == Severity::Error) {
            return Reading { outcome: Outcome::Invalid(key), issues };
        }
        let said =
            |severity, message| Issue { line: node.line, object: Some(key.to_string()), severity, message };
        match (self.read)(object) {
            Ok(content) => {
                issues
                    .extend(self.unused(&content).map(|message| said(Severity::Warning, message.to_owned())));
                let document = Document { key, line: node.line, content };
                Reading { outcome: Outcome::Valid(document), issues }
            }
            Err(error) => {
                issues.push(said(Severity::Error, self.blunt(&error)));
                Reading { outcome: Outcome::Invalid(key), issues }
            }
        }
    }

    /// Which object the metadata is of; fills in the namespace and the label every Namespace has.
    fn key(&self, metadata: &mut Value) -> Result<Key, Violation> {
        let wrong = |field: &str, message: String| Violation {
            path: vec![Step::field("metadata"), Step::field(field)],
            message,
            unknown: false,
        };
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(wrong("name", "is required".to_owned()));
        }
        let shape = if self.namespaced { &SUBDOMAIN } else { &LABEL };
        if !shape.matches(&name) {
            return Err(wrong("name", format!("{name:?} is not {}", shape.article)));
        }
        if !self.namespaced {
            metadata["labels"]["kubernetes.io/metadata.name"] = name.as_str().into();
            metadata.as_object_mut().map(|fields| fields.remove("namespace"));
            return Ok(Key { kind: self.kind, namespace: String::new(), name });
        }
        let namespace =
            metadata["namespace"].as_str().filter(|n| !n.is_empty()).unwrap_or("default").to_owned();
        if !LABEL.matches(&namespace) {
            return Err(wrong("namespace", format!("{namespace:?} is not {}", LABEL.article)));
        }
        metadata["namespace"] = namespace.as_str().into();
        Ok(Key { kind: self.kind, namespace, name })
    }

    fn issue(&self, node: &Node, key: Option<&Key>, violation: &Violation) -> Issue {
        let harmless =
            violation.unknown && (!self.strict || violation.path.first() == Some(&Step::field("metadata")));
        let ignored = if harmless { "; it is ignored" } else { "" };
        Issue {
            line: node.line_at(&violation.path),
            object: Some(key.map_or_else(|| self.kind.to_owned(), Key::to_string)),
            severity: if harmless { Severity::Warning } else { Severity::Error },
            message: self.told(format!("{}: {}{ignored}", Path(&violation.path), violation.message)),
        }
    }

    fn unused(&self, content: &Content) -> Option<&'static str> {
        match (content, self.kind) {
            (Content::Unused, "EndpointSlice") => {
                Some("belongs to no Service: it has no label kubernetes.io/service-name")
            }
            (Content::Unused, _) => Some("is valid, but this version makes nothing of objects of its kind"),
            _ => None,
        }
    }

    /// A message about a Secret in which nothing of it can stand: the name of a field may be a line of a key that is indented wrongly.
    fn told(&self, message: String) -> String {
        if self.kind == "Secret" { contour_objects::redacted(&message) } else { message }
    }

    /// What a type says that the schema let pass. It may quote a value, so nothing of a Secret is told.
    fn blunt(&self, error: &serde_json::Error) -> String {
        if self.kind == "Secret" { "is not a valid Secret".to_owned() } else { error.to_string() }
    }
}

/// A shape of names.
struct Shape {
    regex: LazyLock<Regex>,
    longest: usize,
    article: &'static str,
}

impl Shape {
    fn matches(&self, name: &str) -> bool {
        name.len() <= self.longest && self.regex.is_match(name)
    }
}

static LABEL: Shape = Shape {
    regex: LazyLock::new(|| Regex::new(DNS_LABEL).expect("the pattern is a constant and tested")),
    longest: 63,
    article: "a DNS label: lower-case letters, digits and '-', at most 63",
};

static SUBDOMAIN: Shape = Shape {
    regex: LazyLock::new(|| Regex::new(HOST_NAME).expect("the pattern is a constant and tested")),
    longest: 253,
    article: "a DNS name: lower-case letters, digits, '-' and '.', at most 253",
};

fn within_metadata(mut violation: Violation) -> Violation {
    violation.path.insert(0, Step::field("metadata"));
    violation
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::yaml;

    fn parse(text: &str) -> Result<Vec<Node>, yaml::SyntaxError> {
        yaml::parse(text)
    }

    /// The schemas of the custom kinds.
    pub(crate) fn custom_schemas() -> impl Iterator<Item = (&'static str, &'static Schema)> {
        KINDS.iter().filter(|known| known.strict).map(|known| (known.kind, &known.schema))
    }

    fn issues(text: &str) -> Vec<String> {
        let nodes = parse(text).unwrap();
        let readings = nodes.iter().flat_map(read);
        let issues = readings.flat_map(|reading| reading.issues);
        issues.map(|i| format!("{} {}: {}", i.line, i.object.unwrap_or_default(), i.message)).collect()
    }

    /// Fixtures of `contour-crds`, about which a real API server was asked (`e2e/tests/crds.rs`).
    fn fixtures(verdict: &str) -> Vec<(PathBuf, Node)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/fixtures").join(verdict);
        let kinds = root.read_dir().unwrap().flat_map(|kind| kind.unwrap().path().read_dir().unwrap());
        let files = kinds
            .map(|file| file.unwrap().path())
            .filter(|path| !path.to_string_lossy().contains(".stored."));
        let found: Vec<_> = files.map(|path| (path.clone(), one(&path))).collect();
        assert!(found.len() > 40, "only {} fixtures are left", found.len());
        found
    }

    fn one(path: &Path) -> Node {
        parse(&std::fs::read_to_string(path).unwrap()).unwrap().remove(0)
    }

    #[test]
    fn what_an_api_server_takes_is_taken_and_stored_as_it_stores_it() {
        for (path, node) in fixtures("accept") {
            let reading = read(&node).remove(0);
            let errors: Vec<_> = reading.issues.iter().filter(|i| i.severity == Severity::Error).collect();
            if path.ends_with("unknown-fields-are-dropped.yaml") {
                // As kubectl does by default, we ask for it to be corrected.
                assert!(
                    !errors.is_empty() && errors.iter().all(|i| i.message.contains("known field")),
                    "{errors:?}"
                );
                continue;
            }
            assert!(matches!(reading.outcome, Outcome::Valid(_)), "{}: {errors:?}", path.display());
            let stored = path.with_extension("stored.yaml");
            if !stored.exists() {
                continue;
            }
            let known = KINDS.iter().find(|known| Some(known.kind) == node.text("kind")).unwrap();
            let mut object = node.to_json();
            object.as_object_mut().unwrap().retain(|field, _| field != "metadata" && field != "status");
            schema::check(&known.schema, &mut object, true);
            assert_eq!(object.get("spec"), one(&stored).to_json().get("spec"), "{}", path.display());
        }
    }

    #[test]
    fn what_an_api_server_refuses_is_refused() {
        for (path, node) in fixtures("reject") {
            let reading = read(&node).remove(0);
            assert!(matches!(reading.outcome, Outcome::Invalid(_)), "{}: {reading:?}", path.display());
            assert!(reading.issues.iter().any(|i| i.severity == Severity::Error), "{}", path.display());
        }
    }

    #[test]
    fn a_namespace_has_the_label_a_cluster_gives_it() {
        let nodes = parse("{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {b: c}}}").unwrap();
        let Outcome::Valid(document) = read(&nodes[0]).remove(0).outcome else { panic!("not valid") };
        let Content::Object(Object::Namespace(namespace)) = document.content else {
            panic!("not a namespace")
        };
        let labels: Vec<_> = namespace.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["b=c", "kubernetes.io/metadata.name=a"]);
    }

    #[test]
    fn nothing_of_a_secret_is_told() {
        let text = "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {tls.key: '%hunter2', x: 12345}, stringData: [hunter2]}";
        let told = issues(text).join("\n");
        assert!(told.contains("data[\"tls.key\"]: must be base64"), "{told}");
        assert!(!told.contains("hunter2") && !told.contains("12345"), "{told}");
    }
}
