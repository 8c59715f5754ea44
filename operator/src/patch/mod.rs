//! Patches of what the operator makes: the pod templates, Envoy's Service, and Envoy's bootstrap. Pure.
//!
//! A patch is merged as the API server would merge it (`strategic`), has the fields that Kubernetes has (`shape`), and leaves alone what the
//! installation cannot serve without (`pods`, `service`, `bootstrap`). What it may ask for is policy's to say: [`crate::policy`].

mod bootstrap;
mod pods;
mod service;
mod shape;
mod strategic;

use contour_crds::contour_deployment::Patch;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use bootstrap::bootstrap_keeps;
pub(crate) use pods::{containers, is_own_label, pod_keeps};
pub(crate) use service::service_keeps;

/// The size of a patch, as JSON, in bytes.
pub const LARGEST: usize = 16 * 1024;

/// What a patch is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A pod template.
    Pod,
    /// A Service.
    Service,
    /// Envoy's bootstrap.
    Bootstrap,
}

/// What is wrong with a patch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The path of the field; empty: the patch as a whole.
    pub path: String,
    /// What is wrong with it, as in "has to be a text".
    pub message: String,
}

impl Fault {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Something that may be patched, before and after that.
#[derive(Clone, Debug)]
pub(crate) struct Patched<T> {
    /// As it is without the patch.
    pub plain: T,
    /// What comes of the patch.
    pub result: Result<T, Vec<Fault>>,
}

impl<T: Clone + Serialize + DeserializeOwned> Patched<T> {
    /// Patches an object. An empty patch changes nothing.
    pub(crate) fn of(target: Target, plain: T, patch: &Patch) -> Self {
        if patch.is_empty() {
            return Self { result: Ok(plain.clone()), plain };
        }
        let result = json(&plain).and_then(|object| patched(target, &object, patch)).and_then(|merged| {
            serde_json::from_value(merged)
                .map_err(|error| vec![Fault::new("", format!("cannot be used: {error}"))])
        });
        Self { plain, result }
    }

    /// What is to be made. A patch that cannot be used is [refused](crate::validate) before.
    pub(crate) fn made(self) -> T {
        self.result.unwrap_or(self.plain)
    }
}

fn json(object: &impl Serialize) -> Result<Value, Vec<Fault>> {
    serde_json::to_value(object).map_err(|error| vec![Fault::new("", error.to_string())])
}

/// What a patch makes of an object.
///
/// # Errors
///
/// All that the API server would refuse, as far as its types tell.
pub fn patched(target: Target, object: &Value, patch: &Patch) -> Result<Value, Vec<Fault>> {
    let text = serde_json::to_vec(patch).unwrap_or_default();
    if text.len() > LARGEST {
        let message = format!("has {} bytes as JSON; a patch has {LARGEST} at most", text.len());
        return Err(vec![Fault::new("", message)]);
    }
    let faults = shape::faults(target, shape::Form::Patch, &Value::Object(patch.clone()));
    if !faults.is_empty() {
        return Err(faults);
    }
    let Some(fields) = object.as_object() else { return Ok(object.clone()) };
    let merged = Value::Object(strategic::merge(target, fields, patch).map_err(|fault| vec![fault])?);
    let faults = shape::faults(target, shape::Form::Object, &merged);
    if faults.is_empty() { Ok(merged) } else { Err(faults) }
}

/// The path of a field of what has this path.
fn below(path: &str, name: &str) -> String {
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "$_-".contains(c));
    match (path, named) {
        ("", true) => name.to_owned(),
        (_, true) => format!("{path}.{name}"),
        // As annotations are called, with dots and slashes.
        (_, false) => format!("{path}[{name:?}]"),
    }
}

fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
