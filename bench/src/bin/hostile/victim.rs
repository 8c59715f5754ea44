//! The other tenant: many hosts in a namespace of its own, and what asks for them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use contour_crds::HTTPProxy;
use contour_e2e::certs::TestCa;
use contour_e2e::client::{self, Answer, Request, Tls};
use contour_e2e::wait::eventually;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::{Proxy, START, World};

/// The victim's namespace.
pub(crate) const NAMESPACE: &str = "victim";

/// The domain of its hosts; an attacker knows it as `${victim}`.
pub(crate) const DOMAIN: &str = "victim.example.com";

/// Requests to the API server under way at once while hosts are made.
const CONCURRENT: usize = 32;

/// The host whose endpoints are swapped.
pub(crate) const SWAPPED: &str = "swapped";

/// The paths that are asked for; an attacker may want one of them.
pub(crate) const PATHS: [&str; 4] = ["/", "/login", "/.well-known/acme-challenge/token", "/account/settings"];

/// The other tenant.
pub(crate) struct Victim {
    world: Arc<World>,
    ca: TestCa,
    /// How many hosts it has.
    pub(crate) hosts: usize,
    /// The first so many of them have TLS.
    pub(crate) tls: usize,
}

impl Victim {
    /// Makes the hosts in an installation without Envoys.
    pub(crate) async fn settle_in(world: Arc<World>, hosts: usize, tls: usize) -> Result<Self> {
        let started = Instant::now();
        let victim = Self { world, ca: TestCa::new("victim")?, hosts, tls };
        let all = stream::iter(0..hosts).map(|i| victim.create(name(i), i < tls));
        all.buffer_unordered(CONCURRENT).try_collect::<Vec<()>>().await?;
        victim.create(SWAPPED.to_owned(), false).await?;
        eprintln!("{hosts} hosts are written after {:.1} s", started.elapsed().as_secs_f64());
        Ok(victim)
    }

    /// Waits until every Envoy serves the last host.
    pub(crate) async fn until_served(&self) -> Result<()> {
        for proxy in self.world.proxies() {
            for host in [name(self.hosts - 1), SWAPPED.to_owned(), name(0)] {
                self.until_answered(proxy, &host).await?;
            }
        }
        self.world.settle().await
    }

    /// Waits until an Envoy serves a host.
    pub(crate) async fn until_answered(&self, proxy: &Proxy, host: &str) -> Result<()> {
        let request = self.request(proxy, host, "/", self.has_tls(host));
        let served = eventually(START, || async { accept(&request.send().await?) }).await;
        served.with_context(|| format!("{} does not serve {host}", proxy.name))
    }

    fn has_tls(&self, host: &str) -> bool {
        (0..self.tls).any(|i| name(i) == host)
    }

    /// Every host that is asked for all the time, spread over all, and whether it has TLS.
    pub(crate) fn sample(&self, count: usize) -> Vec<(String, bool)> {
        let plain = (0..count).map(|k| self.tls + k * (self.hosts - self.tls) / count);
        let tls = (0..count.min(self.tls)).map(|k| k * self.tls / count.min(self.tls));
        plain.map(|i| (name(i), false)).chain(tls.map(|i| (name(i), true))).collect()
    }

    /// A request for a path of a host.
    pub(crate) fn request(&self, proxy: &Proxy, host: &str, path: &str, tls: bool) -> Request {
        let request = client::get(proxy.at(tls), &format!("{host}.{DOMAIN}"), path);
        if tls { request.tls(Tls::trusting(&self.ca)) } else { request }
    }

    /// Makes a host with all it needs.
    pub(crate) async fn create(&self, host: String, tls: bool) -> Result<()> {
        self.prepare(&host, tls).await?;
        self.publish(&host, tls).await
    }

    /// Makes what a host needs but its HTTPProxy.
    pub(crate) async fn prepare(&self, host: &str, tls: bool) -> Result<()> {
        let service = json!({
            "metadata": {"name": host},
            "spec": {"ports": [{"name": "http", "port": 80}], "clusterIP": "None"},
        });
        self.write::<Service>(service).await?;
        self.write::<EndpointSlice>(self.slice(host, 0)).await?;
        if tls {
            let leaf = self.ca.leaf(&[&format!("{host}.{DOMAIN}")])?;
            let secret = json!({
                "metadata": {"name": host},
                "type": "kubernetes.io/tls",
                "stringData": {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem},
            });
            self.write::<Secret>(secret).await?;
        }
        Ok(())
    }

    /// Makes the HTTPProxy of a host.
    pub(crate) async fn publish(&self, host: &str, tls: bool) -> Result<()> {
        let mut virtualhost = json!({"fqdn": format!("{host}.{DOMAIN}")});
        if tls {
            virtualhost["tls"] = json!({"secretName": host});
        }
        let proxy = json!({
            "apiVersion": "projectcontour.io/v1",
            "kind": "HTTPProxy",
            "metadata": {"name": host},
            "spec": {"virtualhost": virtualhost, "routes": [{"services": [{"name": host, "port": 80}]}]},
        });
        self.write::<HTTPProxy>(proxy).await
    }

    /// Takes the HTTPProxy of a host away.
    pub(crate) async fn unpublish(&self, host: &str) -> Result<()> {
        self.api::<HTTPProxy>().delete(host, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Removes what a host needed.
    pub(crate) async fn clear(&self, host: &str, tls: bool) -> Result<()> {
        let now = DeleteParams::default();
        self.api::<Service>().delete(host, &now).await?;
        self.api::<EndpointSlice>().delete(&format!("{host}-x"), &now).await?;
        if tls {
            self.api::<Secret>().delete(host, &now).await?;
        }
        Ok(())
    }

    /// Points a host at one of the two upstreams; the instance name that its answers then carry.
    pub(crate) async fn point(&self, host: &str, upstream: usize) -> Result<&str> {
        let slice = self.slice(host, upstream);
        let patch = Patch::Merge(json!({"endpoints": slice["endpoints"], "ports": slice["ports"]}));
        let slices = self.api::<EndpointSlice>();
        slices.patch(&format!("{host}-x"), &PatchParams::default(), &patch).await?;
        Ok(self.world.upstreams[upstream].instance())
    }

    fn slice(&self, host: &str, upstream: usize) -> Value {
        let address = self.world.upstreams[upstream].address();
        json!({
            "metadata": {"name": format!("{host}-x"), "labels": {"kubernetes.io/service-name": host}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address.ip().to_string()]}],
            "ports": [{"name": "http", "port": address.port(), "protocol": "TCP"}],
        })
    }

    async fn write<K>(&self, object: Value) -> Result<()>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.api::<K>().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.world.client.clone(), NAMESPACE)
    }
}

/// The name of the host of this number.
pub(crate) fn name(number: usize) -> String {
    format!("host-{number}")
}

/// Whether an answer is the victim's own.
pub(crate) fn accept(answer: &Answer) -> Result<()> {
    ensure!(answer.status == 200, "status {}", answer.status);
    let service = answer.received()?.service;
    ensure!(service == "victim", "answered by {service}");
    Ok(())
}
