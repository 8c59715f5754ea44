//! What every step works with: the cluster, its nodes, the images, and certificates for hosts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use contour_e2e::certs::TestCa;
use contour_e2e::client::{Tls, get};
use contour_e2e::wait::eventually;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::process::Command;

use crate::objects::{CONTOUR_DEPLOYMENT, Objects};
use crate::traffic::Probe;

/// How long pods may take to start, stop or roll on two busy cores.
pub(crate) const ROLLOUT: Duration = Duration::from_mins(3);

/// How long a change takes to arrive that waits for no pod.
pub(crate) const CHANGE: Duration = Duration::from_secs(45);

/// The namespace and the name of the `ContourDeployment` in `examples/contourdeployment.yaml`.
pub(crate) const EDGE: (&str, &str) = ("projectcontour", "edge");

/// Everything that steps share.
pub(crate) struct World {
    pub(crate) objects: Objects,
    /// The nodes that pods run on, by name.
    pub(crate) nodes: Vec<Place>,
    pub(crate) images: Images,
    /// Turns nodes off and on.
    pub(crate) power: Option<Power>,
    /// Signs the certificates of hosts.
    pub(crate) ca: TestCa,
}

/// A node, as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
}

impl Place {
    /// A request for a host in the clear, to a port of this node.
    pub(crate) fn http(&self, port: u16, host: &str) -> Probe {
        Probe {
            name: format!("http://{host} at {}:{port} ({})", self.address, self.name),
            request: get(SocketAddr::new(self.address, port), host, "/"),
        }
    }
}

/// References of images that the nodes have or can pull.
pub(crate) struct Images {
    pub(crate) operator: String,
    /// Another version of the same.
    pub(crate) operator_next: String,
    pub(crate) envoy: String,
    pub(crate) echo: String,
}

/// The commands that turn nodes off and on.
pub(crate) struct Power {
    /// Is given the name of a node.
    pub(crate) off: String,
    /// All nodes.
    pub(crate) on: String,
}

impl Power {
    /// Ends all that runs on a node, at once.
    pub(crate) async fn off(&self, node: &str) -> Result<()> {
        run(Command::new(&self.off).arg(node)).await
    }

    /// Starts the nodes that do not run.
    pub(crate) async fn on(&self) -> Result<()> {
        run(&mut Command::new(&self.on)).await
    }
}

async fn run(command: &mut Command) -> Result<()> {
    let output = command.output().await.with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?} ends with {}: {said}", output.status);
    Ok(())
}

impl World {
    /// Connects to the cluster of `KUBECONFIG`, or says why it cannot be used.
    pub(crate) async fn connect(power: Option<Power>, images: Images) -> Result<Self> {
        // Fails only where the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.context(
            "no cluster: set KUBECONFIG to that of a cluster, or run `make e2e` without it for one on this machine",
        )?;
        let nodes = ready_nodes(client.clone()).await.context("the cluster does not answer")?;
        anyhow::ensure!(
            nodes.len() >= 2,
            "the cluster needs two nodes that are ready and take pods, and has {nodes:?}"
        );
        Ok(Self {
            objects: Objects::new(client),
            nodes,
            images,
            power,
            ca: TestCa::new("contour-e2e hosts")?,
        })
    }

    /// The addresses of all nodes, as statuses list them.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        addresses.sort();
        addresses
    }

    /// A request for a host over TLS, to a port of a node.
    pub(crate) fn https(&self, node: &Place, port: u16, host: &str) -> Probe {
        let plain = node.http(port, host);
        Probe {
            name: plain.name.replacen("http", "https", 1),
            request: plain.request.tls(Tls::trusting(&self.ca)),
        }
    }

    /// Waits until a `ContourDeployment` reports, for its present generation, that all is well.
    pub(crate) async fn until_well(&self, (namespace, name): (&str, &str)) -> Result<Value> {
        eventually(ROLLOUT, || async {
            let object = self.objects.get(CONTOUR_DEPLOYMENT, namespace, name).await?;
            let status = &object["status"];
            let settled = status["observedGeneration"] == object["metadata"]["generation"]
                && condition(&object, "Available") == "True"
                && condition(&object, "Progressing") == "False"
                && condition(&object, "Degraded") == "False"
                && condition(&object, "CertificatesReady") == "True";
            anyhow::ensure!(settled, "its status is {status}");
            Ok(object)
        })
        .await
        .with_context(|| format!("ContourDeployment {namespace}/{name} is not well"))
    }
}

/// The status of a condition: `True`, `False`, `Unknown`, or nothing if there is none.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let found = conditions.iter().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

async fn ready_nodes(client: Client) -> Result<Vec<Place>> {
    let nodes: Api<Node> = Api::all(client);
    let mut places = Vec::new();
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.name_any();
        let spec = node.spec.unwrap_or_default();
        let repelled = spec.taints.iter().flatten().any(|taint| taint.effect != "PreferNoSchedule");
        let status = node.status.unwrap_or_default();
        let ready =
            status.conditions.iter().flatten().any(|held| held.type_ == "Ready" && held.status == "True");
        if repelled || spec.unschedulable == Some(true) || !ready {
            continue;
        }
        let address = status.addresses.iter().flatten().find(|address| address.type_ == "InternalIP");
        let address = address.with_context(|| format!("node {name} has no InternalIP"))?;
        places.push(Place { name, address: address.address.parse()? });
    }
    places.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(places)
}
