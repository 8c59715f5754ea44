//! What Ingresses have to tell becomes Events, once.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver;
use contour_e2e::wait::{SOON, eventually};
use contour_graph::IngressNote;
use contour_k8s::{NoteWriter, Notes, always_leading};
use contour_objects::NamespacedName;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::create;

fn write(client: &Client, notes: &Arc<Notes>, leading: watch::Receiver<bool>) -> DropGuard {
    let token = CancellationToken::new();
    tokio::spawn(NoteWriter::new(client.clone(), Arc::clone(notes), leading).run(token.clone()));
    token.drop_guard()
}

/// The Events about the Ingress of this name and identity, as `kubectl describe` asks for them.
async fn events(api: &Api<Event>, ingress: &Ingress) -> Result<Vec<Event>> {
    let uid = ingress.uid().context("an Ingress without identity")?;
    let about = format!("involvedObject.name={},involvedObject.uid={uid}", ingress.name_any());
    Ok(api.list(&ListParams::default().fields(&about)).await?.items)
}

#[tokio::test]
async fn a_note_is_one_event_whoever_leads() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let client = api.client().await?;
    let namespace = api.namespace("notes").await?;
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let made: Ingress = create(
        &client,
        &namespace,
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "www"},
            "spec": {"defaultBackend": backend},
        }),
    )
    .await?;
    let note = |name: &str, message: &str| IngressNote {
        ingress: NamespacedName::new(namespace.as_str(), name),
        host: "*".into(),
        message: message.to_owned(),
    };
    let found: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let told = |count: usize| {
        let (found, made) = (&found, &made);
        eventually(SOON, move || async move {
            let events = events(found, made).await?;
            anyhow::ensure!(events.len() == count, "{} Events instead of {count}", events.len());
            Ok(())
        })
    };

    let notes = Arc::new(Notes::new());
    let (lead, leading) = watch::channel(false);
    let _first = write(&client, &notes, leading);
    notes.offer(&[], &[note("gone", "nobody to tell this about"), note("www", "first")]);
    assert_eq!(events(&found, &made).await?.len(), 0, "who does not lead writes nothing");
    lead.send(true)?;
    told(1).await?;
    let event = events(&found, &made).await?.remove(0);
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!((event.message.as_deref(), event.count), (Some("first"), Some(1)));

    // Another replica, or a later life: what was told is there, and what is new comes after it.
    let others = Arc::new(Notes::new());
    let _second = write(&client, &others, always_leading());
    others.offer(&[], &[note("www", "first"), note("www", "second")]);
    told(2).await?;
    let mut messages: Vec<_> = events(&found, &made).await?.into_iter().filter_map(|e| e.message).collect();
    messages.sort();
    assert_eq!(messages, ["first", "second"]);
    Ok(())
}
