//! Asks pods which certificates they work with: `GET /certificates` of the controller, and of the agent beside Envoy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use contour_certs::{Credentials, Party, Peer};
use futures::StreamExt as _;
use futures::stream;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::ResourceExt as _;

use crate::pod::Pod;
use crate::reconcile::rollout::is_ready;

/// The longest time one pod is waited for.
const LIMIT: Duration = Duration::from_secs(2);

/// The longest answer, in bytes: a few fingerprints.
const SIZE: usize = 64 * 1024;

/// Pods that are asked at the same time.
const AT_ONCE: usize = 64;

/// A client without TLS: what is asked for is public.
type Plain = Client<HttpConnector, Empty<Bytes>>;

/// Asks every pod that is ready, on this port. Others start with what the Secrets hold by then, or end. One that gives no answer is one
/// that does not say.
pub async fn ask(party: Party, port: u16, pods: Vec<Arc<Pod>>) -> Vec<Peer> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let ready = pods.into_iter().filter(|pod| is_ready(pod));
    let asked: Vec<_> = ready.map(|pod| peer(client.clone(), party, pod, port)).collect();
    stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

async fn peer(client: Plain, party: Party, pod: Arc<Pod>, port: u16) -> Peer {
    let answer = tokio::time::timeout(LIMIT, one(&client, &pod, port)).await;
    let answer = answer.unwrap_or_else(|_| Err("it does not answer".to_owned()));
    if let Err(why) = &answer {
        tracing::debug!(pod = pod.name_any(), why, "a pod does not say which certificates it works with");
    }
    Peer { party, credentials: answer.ok() }
}

async fn one(client: &Plain, pod: &Pod, port: u16) -> Result<Credentials, String> {
    let address =
        pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).ok_or("it has no address")?;
    let address: IpAddr = address.parse().map_err(|_| "its address is none")?;
    let uri = format!("http://{}/certificates", SocketAddr::new(address, port));
    let uri = uri.parse().map_err(|error| format!("{error}"))?;
    let answer = client.get(uri).await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), SIZE).collect().await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
}
