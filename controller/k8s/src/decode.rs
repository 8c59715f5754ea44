//! From what the API server sends to what the store keeps.
//!
//! Objects arrive as JSON values, so that one that does not fit its Rust type spoils neither its list nor its watch. What is not kept is dropped
//! before the typed object is made: managed fields first of all, and the status, of which the graph reads only who has a host.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use contour_crds::{HTTPProxy, TLSCertificateDelegation};
use contour_objects::{EndpointSlice, Held, Kind, NamespacedName, Object, ObjectRef};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Resource;
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::merge::Status;
use crate::statuses::Recorded;

/// An object as sent, of any kind. `meta` holds only what identifies it.
#[derive(Clone)]
pub(crate) struct Wire {
    meta: ObjectMeta,
    content: Value,
}

impl Wire {
    /// The whole object with another status.
    pub(crate) fn with_status(mut self, status: Value) -> Value {
        if let Some(object) = self.content.as_object_mut() {
            object.insert("status".to_owned(), status);
        }
        self.content
    }
}

impl fmt::Debug for Wire {
    /// The name only: the content may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({:?}/{:?})", self.meta.namespace, self.meta.name)
    }
}

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut content = Value::deserialize(deserializer)?;
        let mut meta = ObjectMeta::default();
        if let Some(sent) = content.get_mut("metadata").and_then(Value::as_object_mut) {
            sent.shift_remove("managedFields");
            let text = |key| sent.get(key).and_then(Value::as_str).map(str::to_owned);
            meta.name = text("name");
            meta.namespace = text("namespace");
            meta.resource_version = text("resourceVersion");
            meta.generation = sent.get("generation").and_then(Value::as_i64);
        }
        Ok(Self { meta, content })
    }
}

impl Resource for Wire {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }

    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }

    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }

    fn api_version(dt: &ApiResource) -> Cow<'_, str> {
        dt.api_version.as_str().into()
    }

    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// The API resource of a kind.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::HttpProxy => ApiResource::erase::<HTTPProxy>(&()),
        Kind::Ingress => ApiResource::erase::<Ingress>(&()),
        Kind::Service => ApiResource::erase::<Service>(&()),
        Kind::EndpointSlice => ApiResource::erase::<discovery::EndpointSlice>(&()),
        Kind::Secret => ApiResource::erase::<Secret>(&()),
        Kind::Namespace => ApiResource::erase::<Namespace>(&()),
        Kind::Delegation => ApiResource::erase::<TLSCertificateDelegation>(&()),
    }
}

/// What was learned from one object.
#[derive(Debug)]
pub(crate) struct Observed {
    /// Which object.
    pub(crate) reference: ObjectRef,
    /// What the store keeps; `None` if it is of no interest; or why it cannot be understood.
    pub(crate) object: Result<Option<Object>, String>,
    /// For HTTPProxies and Ingresses: what the API server holds about its status.
    pub(crate) recorded: Option<Recorded>,
}

/// The kind and name of an object.
pub(crate) fn reference(kind: Kind, wire: &Wire) -> ObjectRef {
    let namespace = wire.meta.namespace.as_deref().unwrap_or_default();
    ObjectRef::new(kind, NamespacedName::new(namespace, wire.meta.name.as_deref().unwrap_or_default()))
}

/// Reads an object of this kind.
pub(crate) fn decode(kind: Kind, wire: Wire) -> Observed {
    let reference = reference(kind, &wire);
    let Wire { meta, mut content } = wire;
    let status = content.as_object_mut().and_then(|object| object.shift_remove("status"));
    let recorded = Status::read(kind, status).map(|status| Recorded {
        resource_version: meta.resource_version.unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        status,
    });
    let mut object = object(kind, content);
    if let Ok(Some(Object::HttpProxy(proxy))) = &mut object
        && let Some(Recorded { status: Status::Proxy(status), .. }) = &recorded
    {
        Arc::make_mut(proxy).held = Held::recorded(&status.conditions);
    }
    Observed { reference, object, recorded }
}

fn object(kind: Kind, content: Value) -> Result<Option<Object>, String> {
    Ok(Some(match kind {
        Kind::HttpProxy => Object::HttpProxy(typed::<HTTPProxy, _>(content)?),
        Kind::Ingress => Object::Ingress(typed::<Ingress, _>(content)?),
        Kind::Service => Object::Service(typed::<Service, _>(content)?),
        Kind::Namespace => Object::Namespace(typed::<Namespace, _>(content)?),
        Kind::Delegation => Object::Delegation(typed::<TLSCertificateDelegation, _>(content)?),
        // The error may quote the value, and the value may be a key.
        Kind::Secret => {
            Object::Secret(typed::<Secret, _>(content).map_err(|_| "it has not the shape of a Secret")?)
        }
        Kind::EndpointSlice => {
            let slice = serde_json::from_value(content).map_err(|e| e.to_string())?;
            return Ok(EndpointSlice::parse(slice).map(Arc::new).map(Object::EndpointSlice));
        }
    }))
}

/// The full object, and from it at once the slim one.
fn typed<T: DeserializeOwned, S: From<T>>(content: Value) -> Result<Arc<S>, String> {
    serde_json::from_value::<T>(content).map(|full| Arc::new(full.into())).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wire(value: Value) -> Wire {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_proxy_and_its_status_part() {
        let observed = decode(
            Kind::HttpProxy,
            wire(json!({
                "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy",
                "metadata": {"name": "site", "namespace": "web", "generation": 3, "resourceVersion": "77",
                             "managedFields": [{"manager": "kubectl", "fieldsV1": {}}]},
                "spec": {"virtualhost": {"fqdn": "Example.com"}},
                "status": {"currentStatus": "valid", "conditions": []},
            })),
        );
        assert_eq!(observed.reference.to_string(), "HTTPProxy web/site");
        let Ok(Some(Object::HttpProxy(proxy))) = observed.object else { panic!("{:?}", observed.object) };
        assert_eq!(proxy.fqdn().as_deref(), Some("example.com"));
        let recorded = observed.recorded.unwrap();
        assert_eq!((recorded.resource_version.as_str(), recorded.generation), ("77", 3));
        let Status::Proxy(status) = recorded.status else { panic!("{:?}", recorded.status) };
        assert_eq!(status.current_status.as_deref(), Some("valid"));
    }

    #[test]
    fn who_has_a_host_is_read_from_the_status() {
        let read = |status: &str, message: &str, class: &str| {
            let condition = json!({
                "type": "HostOwner", "status": status, "reason": "Held", "message": message,
                "lastTransitionTime": "2024-05-05T05:05:05Z",
            });
            let object = json!({
                "metadata": {"name": "site", "namespace": "web"},
                "spec": {"virtualhost": {"fqdn": "Example.com"}, "ingressClassName": class},
                "status": {"conditions": [condition]},
            });
            let Ok(Some(Object::HttpProxy(proxy))) = decode(Kind::HttpProxy, wire(object)).object else {
                panic!("it can be read")
            };
            proxy.has_host_since().map(str::to_owned)
        };
        let claim = "this HTTPProxy has the host \"example.com\" of class \"inner\"";
        assert_eq!(read("True", claim, "inner").as_deref(), Some("2024-05-05T05:05:05Z"));
        assert_eq!(read("False", claim, "inner"), None);
        assert_eq!(read("True", claim, "outer"), None);
        assert_eq!(read("True", &claim.replace("example", "other"), "inner"), None);
    }

    #[test]
    fn a_broken_status_does_not_harm_the_object() {
        let observed = decode(
            Kind::HttpProxy,
            wire(
                json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {}, "status": {"conditions": 7}}),
            ),
        );
        assert!(matches!(observed.object, Ok(Some(_))));
        assert_eq!(Some(observed.recorded.unwrap().status), Status::read(Kind::HttpProxy, None));
    }

    #[test]
    fn what_does_not_fit_is_named_and_harms_only_itself() {
        let page: Vec<Wire> = serde_json::from_value(json!([
            {"metadata": {"name": "good", "namespace": "web"}, "spec": {"routes": []}},
            {"metadata": {"name": "bad", "namespace": "web"}, "spec": {"routes": "many"}},
            "not even an object",
            {"metadata": 7},
        ]))
        .unwrap();
        let read: Vec<_> = page.into_iter().map(|wire| decode(Kind::HttpProxy, wire)).collect();
        assert!(matches!(read[0].object, Ok(Some(_))));
        assert!(read[1].object.as_ref().unwrap_err().contains("\"many\""));
        assert_eq!(read[1].reference.to_string(), "HTTPProxy web/bad");
        assert!(read[2].object.is_err() && read[3].object.is_err());
    }

    #[test]
    fn a_secret_never_shows() {
        let secret =
            wire(json!({"metadata": {"name": "s", "namespace": "n"}, "data": {"tls.key": "hunter2!"}}));
        assert!(!format!("{secret:?}").contains("hunter2"));
        let observed = decode(Kind::Secret, secret);
        assert!(!format!("{observed:?}").contains("hunter2"));
        assert!(observed.object.is_err());
    }

    #[test]
    fn a_slice_of_no_service_is_of_no_interest() {
        let slice = wire(
            json!({"metadata": {"name": "s", "namespace": "n"}, "addressType": "IPv4", "endpoints": []}),
        );
        assert!(matches!(decode(Kind::EndpointSlice, slice).object, Ok(None)));
    }
}
