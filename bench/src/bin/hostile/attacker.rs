//! The owner of one namespace, who may write there whatever kube-apiserver takes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use contour_e2e::wait::eventually;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::catalogue::{Attack, Event, StatusIs, Step};
use crate::changes::Changes;
use crate::network::{EVIL_PORT, HERE, HOLE_PORT};
use crate::template::Scope;
use crate::victim::{self, DOMAIN, Victim};
use crate::world::{PATIENCE, World};

/// Writes under way at once.
const CONCURRENT: usize = 16;

/// Hosts that the victim takes away and brings back.
const SHRINKS: usize = 20;

/// What an attacker can write and what is removed after an attack.
const KINDS: [(&str, &str, &str); 8] = [
    ("projectcontour.io", "v1", "HTTPProxy"),
    ("projectcontour.io", "v1", "TLSCertificateDelegation"),
    ("projectcontour.io", "v1alpha1", "ExtensionService"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    ("", "v1", "Service"),
    ("", "v1", "Secret"),
    ("", "v1", "ConfigMap"),
];

/// What steps may name.
pub(crate) fn scope<'a>(certificates: &'a Path, attack: &Attack) -> Scope<'a> {
    Scope::new(certificates)
        .with("namespace", namespace(attack))
        .with("host", format!("{}.evil.example.com", attack.name))
        .with("victim", DOMAIN)
        .with("ip", HERE.to_string())
        .with("port", EVIL_PORT.to_string())
        .with("hole", HOLE_PORT.to_string())
}

fn namespace(attack: &Attack) -> String {
    format!("evil-{}", attack.name)
}

/// The attacker at work.
pub(crate) struct Attacker<'a> {
    world: &'a Arc<World>,
    victim: &'a Arc<Victim>,
    attack: &'a Attack,
    scope: Scope<'a>,
    namespace: String,
    written: AtomicUsize,
    refused: AtomicUsize,
}

impl<'a> Attacker<'a> {
    /// Gives the attacker a namespace.
    pub(crate) async fn arrive(
        world: &'a Arc<World>,
        victim: &'a Arc<Victim>,
        attack: &'a Attack,
        certificates: &'a Path,
    ) -> Result<Self> {
        let namespace = namespace(attack);
        world.namespace(&namespace).await?;
        let scope = scope(certificates, attack);
        let (written, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Self { world, victim, attack, scope, namespace, written, refused })
    }

    /// Takes all steps.
    pub(crate) async fn strike(&self, changes: &Changes) -> Result<()> {
        for (number, step) in self.attack.steps.iter().enumerate() {
            self.step(step, changes).await.with_context(|| format!("step {}", number + 1))?;
        }
        Ok(())
    }

    async fn step(&self, step: &Step, changes: &Changes) -> Result<()> {
        for round in 0..step.rounds {
            let scope = self.scope.with("round", round.to_string());
            let all = (0..step.repeat).flat_map(|i| step.apply.iter().map(move |object| (i, object)));
            let all: Vec<(usize, &Value)> = all.collect();
            let writes = stream::iter(all).map(|(i, object)| {
                let scope = scope.with("i", i.to_string());
                async move { self.apply(scope.expand(object)?, step.may_be_refused).await }
            });
            writes.buffer_unordered(CONCURRENT).try_collect::<Vec<()>>().await?;
            for (i, object) in (0..step.repeat).flat_map(|i| step.delete.iter().map(move |o| (i, o))) {
                let object = object_of(scope.with("i", i.to_string()).expand(object)?)?;
                let name = object.metadata.name.clone().unwrap_or_default();
                self.api(&object)?.delete(&name, &DeleteParams::default()).await?;
            }
            if let Some(event) = step.installation {
                self.happen(event).await.with_context(|| format!("{event:?}"))?;
            }
            if round + 1 < step.rounds {
                tokio::time::sleep(step.pause()).await;
            }
        }
        changes.after(step.wait.changes).await?;
        self.until_statuses(&step.wait.statuses).await
    }

    /// Makes an object, or makes it like this.
    async fn apply(&self, object: Value, may_be_refused: bool) -> Result<()> {
        let mut object = object_of(object)?;
        let api = self.api(&object)?;
        let name = object.metadata.name.clone().context("an object without a name")?;
        let mut result = api.create(&PostParams::default(), &object).await;
        // Over what is there, with whatever version that has by then.
        for _ in 0..5 {
            if !matches!(&result, Err(kube::Error::Api(status)) if status.code == 409) {
                break;
            }
            object.metadata.resource_version = api.get_metadata(&name).await?.metadata.resource_version;
            result = api.replace(&name, &PostParams::default(), &object).await;
        }
        match result {
            Ok(_) => self.written.fetch_add(1, Ordering::SeqCst),
            Err(kube::Error::Api(status)) if may_be_refused && [400, 413, 422].contains(&status.code) => {
                self.refused.fetch_add(1, Ordering::SeqCst)
            }
            Err(error) => return Err(error).with_context(|| name),
        };
        Ok(())
    }

    fn api(&self, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object.types.as_ref().context("an object without a kind")?;
        Ok(self.of_kind(&GroupVersionKind::try_from(types)?))
    }

    fn of_kind(&self, kind: &GroupVersionKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.world.client.clone(), &self.namespace, &ApiResource::from_gvk(kind))
    }

    async fn happen(&self, event: Event) -> Result<()> {
        match event {
            Event::ControllerRestarts => self.world.restart_controller().await,
            Event::EnvoyStarts => {
                let proxy = self.world.envoy("envoy-late").await?;
                proxy.envoy.ready().await?;
                for (host, _) in self.victim.sample(4) {
                    self.victim.until_answered(&proxy, &host).await?;
                }
                Ok(())
            }
            Event::VictimShrinks => {
                let hosts = || (0..SHRINKS).map(|k| victim::name(self.victim.tls + 1 + 2 * k));
                // Hosts that the requests do not ask for: those may not cease.
                let asked: Vec<String> = self.victim.sample(24).into_iter().map(|(host, _)| host).collect();
                let spare: Vec<String> = hosts().filter(|host| !asked.contains(host)).collect();
                for host in &spare {
                    self.victim.unpublish(host).await?;
                }
                self.until_gone(&spare).await?;
                for host in &spare {
                    self.victim.publish(host, false).await?;
                }
                Ok(())
            }
        }
    }

    /// Waits until every Envoy answers 404 for these hosts: a removal is not held up.
    async fn until_gone(&self, hosts: &[String]) -> Result<()> {
        for proxy in self.world.proxies() {
            for host in hosts {
                let request = self.victim.request(proxy, host, "/", false);
                request.until_status(404).await?;
            }
        }
        Ok(())
    }

    /// Waits until HTTPProxies have these statuses.
    pub(crate) async fn until_statuses(&self, wanted: &[StatusIs]) -> Result<()> {
        for one in wanted {
            let name = one.name.as_deref().map(|name| self.scope.text(name)).transpose()?;
            eventually(PATIENCE, || async {
                let all = self.statuses().await?;
                let named = all.iter().filter(|(of, _)| name.as_ref().is_none_or(|name| name == of));
                let (has, other): (Vec<_>, Vec<_>) = named.partition(|(_, status)| is(status, one));
                let example = other.first().map(|(name, status)| summary(name, status)).unwrap_or_default();
                ensure!(
                    has.len() >= one.least,
                    "{} of {} are {} ({}); another: {example}",
                    has.len(),
                    one.least,
                    one.is,
                    one.says
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// The status of every HTTPProxy, by name.
    async fn statuses(&self) -> Result<Vec<(String, Value)>> {
        let [kind, ..] = KINDS.map(|(group, version, kind)| GroupVersionKind::gvk(group, version, kind));
        let listed = self.of_kind(&kind).list(&ListParams::default()).await?;
        let status = |object: DynamicObject| {
            (object.metadata.name.unwrap_or_default(), object.data.get("status").cloned().unwrap_or_default())
        };
        Ok(listed.items.into_iter().map(status).collect())
    }

    /// What the statuses say, most frequent first, in a few words each.
    pub(crate) async fn told(&self) -> Result<Vec<String>> {
        let mut counted = std::collections::BTreeMap::<String, usize>::new();
        for (_, status) in self.statuses().await? {
            *counted.entry(words(&status)).or_default() += 1;
        }
        let mut counted: Vec<(usize, String)> =
            counted.into_iter().map(|(words, count)| (count, words)).collect();
        counted.sort_by(|a, b| b.cmp(a));
        let told = counted.into_iter().take(3).map(|(count, words)| format!("{count} {words}")).collect();
        Ok(told)
    }

    /// How many objects were written, and how many kube-apiserver refused.
    pub(crate) fn written(&self) -> (usize, usize) {
        (self.written.load(Ordering::SeqCst), self.refused.load(Ordering::SeqCst))
    }

    /// Everything that others can read: statuses and Events of the namespace.
    pub(crate) async fn readable(&self) -> Result<String> {
        let events = GroupVersionKind::gvk("", "v1", "Event");
        let events = self.of_kind(&events).list(&ListParams::default()).await?;
        Ok(json!([self.statuses().await?, events.items]).to_string())
    }

    /// Removes all that was written.
    pub(crate) async fn leave(&self) -> Result<()> {
        for (group, version, kind) in KINDS {
            let api = self.of_kind(&GroupVersionKind::gvk(group, version, kind));
            match kind {
                // kube-apiserver deletes no collection of Services.
                "Service" => {
                    for service in api.list_metadata(&ListParams::default()).await?.items {
                        let name = service.metadata.name.unwrap_or_default();
                        api.delete(&name, &DeleteParams::default()).await?;
                    }
                }
                _ => drop(api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?),
            }
        }
        Ok(())
    }

    /// The scope of its steps.
    pub(crate) fn scope(&self) -> &Scope<'a> {
        &self.scope
    }
}

fn object_of(object: Value) -> Result<DynamicObject> {
    serde_json::from_value(object).context("not an object of Kubernetes")
}

fn is(status: &Value, wanted: &StatusIs) -> bool {
    status["currentStatus"] == wanted.is.as_str()
        && status.to_string().to_lowercase().contains(&wanted.says.to_lowercase())
}

fn summary(name: &str, status: &Value) -> String {
    format!("{name} is {}", words(status))
}

/// A status in a few words: what it is, and the first error or warning.
fn words(status: &Value) -> String {
    let is = status["currentStatus"].as_str().unwrap_or("without a status");
    let condition = &status["conditions"][0];
    let first = ["errors", "warnings"].iter().find_map(|list| condition[*list].as_array()?.first());
    let Some(first) = first else { return is.to_owned() };
    let message = first["message"].as_str().unwrap_or_default();
    let end = message.char_indices().nth(110).map_or(message.len(), |(at, _)| at);
    let dots = if end < message.len() { "…" } else { "" };
    format!("{is} ({}: {}{dots})", first["reason"].as_str().unwrap_or_default(), &message[..end])
}
