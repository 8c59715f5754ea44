//! The Event that tells who leads.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::client::innermost;

/// Says `message` about the lease: an Event of the core group, whose source component is the holder (reference 8.3). Contour's Role permits
/// only this group, so this is not kube's recorder, which writes `events.k8s.io`.
///
/// That it cannot be said is logged, and no reason not to lead.
pub(crate) async fn tell(client: &Client, lease: &Lease, holder: &str, what: &str) {
    let now = k8s_openapi::jiff::Timestamp::now();
    let namespace = lease.metadata.namespace.clone().unwrap_or_default();
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: lease.object_ref(&()),
        reason: Some("LeaderElection".to_owned()),
        message: Some(format!("{holder} {what}")),
        type_: Some("Normal".to_owned()),
        source: Some(EventSource { component: Some(holder.to_owned()), host: None }),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    if let Err(error) = events.create(&PostParams::default(), &event).await {
        tracing::warn!(
            "no Event \"{what}\" could be created in namespace {namespace}: {}",
            innermost(&error)
        );
    }
}
