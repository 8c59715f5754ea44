//! The custom resource definitions, put together from the types.

use crate::schema::structural;
use crate::{
    ContourConfiguration, ContourDeployment, ContourPolicy, ExtensionService, HTTPProxy,
    TLSCertificateDelegation,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation,
};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde_json::{Value, json};

/// The definitions of all kinds of this crate, by kind.
///
/// These are the ones to install: `crd()` of a single type is what kube derives, and differs from the schema
/// of Contour.
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    KINDS.iter().map(|kind| (kind.definition)(kind)).collect()
}

/// The `openAPIV3Schema` of a kind, such as `HTTPProxy`, or `None` if the kind is not of this crate.
///
/// Defaults and `x-kubernetes-validations` are as the API server gets them.
pub fn schema_for(kind: &str) -> Option<Value> {
    KINDS.iter().find(|known| known.name == kind).map(|known| (known.schema)(known))
}

/// What the derived parts of a definition do not say.
struct Kind {
    name: &'static str,
    /// The fields that every object must have.
    required: &'static [&'static str],
    /// The status of an object that has none.
    status_default: Option<fn() -> Value>,
    definition: fn(&Self) -> CustomResourceDefinition,
    schema: fn(&Self) -> Value,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "ContourConfiguration",
        required: &["spec"],
        status_default: None,
        definition: definition::<ContourConfiguration>,
        schema: root_schema::<ContourConfiguration>,
    },
    Kind {
        name: "ContourDeployment",
        required: &["spec"],
        status_default: None,
        definition: definition::<ContourDeployment>,
        schema: root_schema::<ContourDeployment>,
    },
    Kind {
        name: "ContourPolicy",
        required: &["spec"],
        status_default: None,
        definition: definition::<ContourPolicy>,
        schema: root_schema::<ContourPolicy>,
    },
    Kind {
        name: "ExtensionService",
        required: &[],
        status_default: None,
        definition: definition::<ExtensionService>,
        schema: root_schema::<ExtensionService>,
    },
    Kind {
        name: "HTTPProxy",
        required: &["metadata", "spec"],
        status_default: Some(waiting_for_controller),
        definition: definition::<HTTPProxy>,
        schema: root_schema::<HTTPProxy>,
    },
    Kind {
        name: "TLSCertificateDelegation",
        required: &["metadata", "spec"],
        status_default: None,
        definition: definition::<TLSCertificateDelegation>,
        schema: root_schema::<TLSCertificateDelegation>,
    },
];

/// The status of an `HTTPProxy` that no controller has looked at. Contour's clients look for these words.
fn waiting_for_controller() -> Value {
    json!({ "currentStatus": "NotReconciled", "description": "Waiting for controller" })
}

/// Names, columns and subresources as derived by kube, with our schema in place of the one of kube.
fn definition<K: CustomResourceExt + JsonSchema>(kind: &Kind) -> CustomResourceDefinition {
    let mut crd = K::crd();
    let schema = serde_json::from_value(root_schema::<K>(kind))
        .expect("a structural schema is made of what a custom resource definition can hold");
    // Said in so many words, as an update of a definition keeps the stored value otherwise.
    crd.spec.preserve_unknown_fields = Some(false);
    let names = &mut crd.spec.names;
    names.list_kind = Some(format!("{}List", names.kind));
    let version = crd.spec.versions.first_mut().expect("kube derives one version per kind");
    version.schema = Some(CustomResourceValidation { open_api_v3_schema: Some(schema) });
    crd
}

fn root_schema<K: JsonSchema>(kind: &Kind) -> Value {
    let mut schema = structural::<K>();
    let properties = &mut schema["properties"];
    properties["apiVersion"] = json!({
        "type": "string",
        "description": "The group and the version of the API that this object is written in."
    });
    properties["kind"] = json!({ "type": "string", "description": "The kind of this object." });
    properties["metadata"] = json!({ "type": "object" });
    if let Some(status_default) = kind.status_default {
        properties["status"]["default"] = status_default();
    }
    schema["required"] = json!(kind.required);
    if kind.required.is_empty()
        && let Some(object) = schema.as_object_mut()
    {
        object.remove("required");
    }
    schema
}
