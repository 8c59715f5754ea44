//! The server over real gRPC: TLS and its files, streams and their limits, shutdown.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;
#[path = "common/pki.rs"]
mod pki;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Running, eventually, localhost, set};
use contour_resource::{Resource, ResourceType, Transaction};
use contour_xds::{Cache, Mode, Server, ServerError, TlsError, TlsFiles};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as DeltaResource,
};
use envoy_types::pb::google::rpc::Status;
use hyper_util::rt::TokioIo;
use pki::{Authority, connect, files, greet, replace};
use prometheus_client::registry::Registry;
use prost::Message;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

async fn plain(addr: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap()
}

async fn secure(addr: SocketAddr, config: Arc<ClientConfig>) -> Channel {
    let connector = tower::service_fn(move |_| {
        let config = Arc::clone(&config);
        async move { connect(addr, config).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://contour").connect_with_connector(connector).await.unwrap()
}

/// A delta stream as a client sees it.
struct Delta {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Delta {
    async fn open(channel: Channel) -> Self {
        let (requests, outbound) = mpsc::unbounded_channel();
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .delta_aggregated_resources(UnboundedReceiverStream::new(outbound))
            .await
            .unwrap()
            .into_inner();
        Self { requests, responses }
    }

    fn ask(&self, kind: ResourceType, names: &[&str], initial: HashMap<String, String>) {
        let request = DeltaDiscoveryRequest {
            node: Some(Node { id: "n".to_owned(), ..Default::default() }),
            type_url: kind.url().to_owned(),
            resource_names_subscribe: names.iter().map(|n| (*n).to_owned()).collect(),
            initial_resource_versions: initial,
            ..Default::default()
        };
        self.requests.send(request).unwrap();
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        let message = tokio::time::timeout(Duration::from_secs(30), self.responses.message());
        message.await.expect("a response in time").unwrap().expect("the stream goes on")
    }

    /// Refuses what has this content in it, and takes the rest.
    async fn judge(mut self, bad: &str) {
        loop {
            let response = self.next().await;
            if response.resources.iter().any(|r| text(r) == bad) {
                let request = DeltaDiscoveryRequest {
                    type_url: response.type_url.clone(),
                    response_nonce: response.nonce.clone(),
                    error_detail: Some(Status { message: "no".to_owned(), ..Default::default() }),
                    ..Default::default()
                };
                self.requests.send(request).unwrap();
            } else {
                self.ack(&response);
            }
        }
    }

    fn ack(&self, response: &DeltaDiscoveryResponse) {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        self.requests.send(request).unwrap();
    }
}

/// Name and content of each resource.
fn content(response: &DeltaDiscoveryResponse) -> Vec<(&str, &str)> {
    response.resources.iter().map(|r| (r.name.as_str(), text(r))).collect()
}

fn text(resource: &DeltaResource) -> &str {
    let any = resource.resource.as_ref().expect("a resource has content");
    std::str::from_utf8(&any.value).unwrap()
}

fn cluster(name: &str, content: &str) -> (ResourceType, Arc<Resource>) {
    (ResourceType::Cluster, Arc::new(Resource::whole(name, content.to_owned())))
}

async fn open_server(resources: Vec<(ResourceType, Arc<Resource>)>) -> Running {
    let server = Running::start(localhost(0), None).await;
    server.cache.commit(set(resources));
    server.cache.open();
    server
}

#[tokio::test]
async fn only_clients_of_the_authority_over_tls13() {
    let (dir, ours, theirs) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let server = Running::start(localhost(0), Some(ours.write(dir.path()))).await;
    greet(server.addr, ours.client(Some(&ours), &[&TLS13])).await.expect("a client of ours");
    let refused = [
        ("no certificate", ours.client(None, &[&TLS13])),
        ("another authority's certificate", ours.client(Some(&theirs), &[&TLS13])),
        ("TLS 1.2", ours.client(Some(&ours), &[&TLS12])),
        ("trust in another authority", theirs.client(Some(&ours), &[&TLS13])),
    ];
    for (why, config) in refused {
        let outcome = greet(server.addr, config).await;
        assert!(outcome.is_err(), "a client with {why} was let in");
    }
    server.stop().await;
}

#[tokio::test]
async fn only_clients_of_the_right_name_and_usage() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

    let (dir, ours, theirs) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let files = ours.write(dir.path());
    let any = Running::start(localhost(0), Some(files.clone())).await;
    greet(any.addr, ours.client_as("contour", &[])).await.expect("whoever is of the authority");
    greet(any.addr, ours.client_as("contour", &[ServerAuth, ClientAuth]))
        .await
        .expect("one for clients, too");
    assert!(greet(any.addr, ours.client_as("envoy", &[ServerAuth])).await.is_err(), "a server was let in");
    any.stop().await;

    let client_name = Some(String::from("envoy"));
    let named = Running::start(localhost(0), Some(TlsFiles { client_name, ..files.clone() })).await;
    greet(named.addr, ours.client_as("envoy", &[ClientAuth])).await.expect("an Envoy");
    let refused = [
        ("another name", ours.client_as("contour", &[ServerAuth, ClientAuth])),
        ("a longer name", ours.client_as("envoy.example.com", &[ClientAuth])),
        ("another usage", ours.client_as("envoy", &[ServerAuth])),
        ("another authority's certificate", ours.client(Some(&theirs), &[&TLS13])),
        ("no certificate", ours.client(None, &[&TLS13])),
    ];
    for (why, config) in refused {
        assert!(greet(named.addr, config).await.is_err(), "a client with {why} was let in");
    }
    named.stop().await;

    let unnameable = TlsFiles { client_name: Some(String::from("an envoy")), ..files };
    let error = Server::bind(localhost(0), Some(unnameable), Cache::new(), &mut Registry::default());
    assert!(matches!(error.map(drop), Err(ServerError::Tls(TlsError::ClientName { .. }))));
}

#[tokio::test]
async fn files_are_reloaded_and_streams_stay() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let server = Running::start(localhost(0), Some(old.write(dir.path()))).await;
    server.cache.commit(set(vec![cluster("a", "1")]));
    server.cache.open();
    let old_client = old.client(Some(&old), &[&TLS13]);
    let mut stream = Delta::open(secure(server.addr, Arc::clone(&old_client)).await).await;
    stream.ask(ResourceType::Cluster, &[], HashMap::new());
    let response = stream.next().await;
    stream.ack(&response);

    // Unusable files change nothing.
    let first = server.certificates.as_ref().unwrap().current();
    assert_eq!((first.authorities.len(), first.chain.len()), (1, 1));
    replace(&files(dir.path()).cert, "rubbish");
    assert_eq!(server.certificates.as_ref().unwrap().current(), first);
    greet(server.addr, Arc::clone(&old_client)).await.expect("the last good files stay");
    std::fs::remove_file(files(dir.path()).key).unwrap();
    greet(server.addr, Arc::clone(&old_client)).await.expect("the last good files stay");

    new.write(dir.path());
    assert_ne!(server.certificates.as_ref().unwrap().current(), first);
    greet(server.addr, new.client(Some(&new), &[&TLS13])).await.expect("a client of the new authority");
    assert!(greet(server.addr, old_client).await.is_err(), "a client of the old authority was let in");

    server.cache.commit(set(vec![cluster("a", "2")]));
    assert_eq!(content(&stream.next().await), [("a", "2")], "the stream from before goes on");
    server.stop().await;
}

#[test]
fn unusable_files_are_an_error_at_start() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let good = authority.write(dir.path());
    let bind = |tls| Server::bind(localhost(0), Some(tls), Cache::new(), &mut Registry::default()).map(drop);
    bind(good.clone()).unwrap();

    let other = tempfile::tempdir().unwrap();
    let mismatched = TlsFiles { key: authority.write(other.path()).key, ..good.clone() };
    let error = bind(mismatched).unwrap_err();
    assert!(matches!(error, ServerError::Tls(TlsError::Pair { .. })), "{error:?}");

    let missing = TlsFiles { ca: dir.path().join("none"), ..good.clone() };
    let error = bind(missing).unwrap_err();
    assert!(matches!(error, ServerError::Tls(TlsError::Read { .. })), "{error:?}");

    let no_key = TlsFiles { key: good.cert.clone(), ..good.clone() };
    assert!(matches!(bind(no_key).unwrap_err(), ServerError::Tls(TlsError::Pem { .. })));
    let no_cert = TlsFiles { cert: good.key.clone(), ..good };
    let error = bind(no_cert).unwrap_err();
    assert!(matches!(error, ServerError::Tls(TlsError::Pem { .. })));
    assert!(!format!("{error:?}").contains("PRIVATE"), "keys are never shown");
}

#[tokio::test]
async fn nothing_is_answered_before_the_first_complete_state() {
    let server = Running::start(localhost(0), None).await;
    server.cache.commit(set(vec![cluster("a", "half")]));
    let mut stream = Delta::open(plain(server.addr).await).await;
    stream.ask(ResourceType::Cluster, &[], HashMap::new());
    // The absence of an answer can only be watched for a while.
    let early = tokio::time::timeout(Duration::from_millis(200), stream.responses.message()).await;
    assert!(early.is_err(), "answered early: {early:?}");
    assert!(server.nodes.snapshot().is_empty());
    server.cache.commit(set(vec![cluster("a", "whole"), cluster("b", "whole")]));
    server.cache.open();
    assert_eq!(content(&stream.next().await), [("a", "whole"), ("b", "whole")]);
    server.stop().await;
}

#[tokio::test]
async fn shutdown_frees_the_port_and_ends_streams() {
    let server = open_server(vec![cluster("a", "1")]).await;
    let mut stream = Delta::open(plain(server.addr).await).await;
    stream.ask(ResourceType::Cluster, &[], HashMap::new());
    stream.next().await;
    let addr = server.stop().await;
    let end = stream.responses.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    let again = Running::start(addr, None).await;
    assert_eq!(again.addr, addr);
    again.stop().await;
}

#[tokio::test]
async fn the_unspecified_ipv6_address_takes_ipv4() {
    let server = Running::start("[::]:0".parse().unwrap(), None).await;
    server.cache.commit(set(vec![cluster("a", "1")]));
    server.cache.open();
    let mut stream = Delta::open(plain(localhost(server.addr.port())).await).await;
    stream.ask(ResourceType::Cluster, &[], HashMap::new());
    assert_eq!(content(&stream.next().await), [("a", "1")]);
    server.stop().await;
}

#[tokio::test]
async fn a_reconnect_may_list_very_many_resources() {
    let known = Arc::new(Resource::whole("a", "1"));
    let server = open_server(vec![(ResourceType::Cluster, Arc::clone(&known))]).await;
    let mut stream = Delta::open(plain(server.addr).await).await;
    let mut initial: HashMap<String, String> =
        (0..100_000).map(|i| (format!("namespace/service-{i:06}/80/da39a3ee5e"), "0".repeat(16))).collect();
    initial.insert("a".to_owned(), known.version_text());
    stream.ask(ResourceType::Listener, &[], HashMap::new());
    stream.ask(ResourceType::Route, &["r"], HashMap::new());
    stream.ask(ResourceType::Cluster, &[], initial);
    // All of them are gone; they are removed once Listeners and Routes are settled.
    loop {
        let response = stream.next().await;
        stream.ack(&response);
        if response.type_url == ResourceType::Cluster.url() {
            assert_eq!((response.resources.len(), response.removed_resources.len()), (0, 100_000));
            break;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_slow_stream_holds_up_nobody_and_gets_the_last_state() {
    let server = open_server(vec![cluster("a", "0")]).await;
    let mut slow = Delta::open(plain(server.addr).await).await;
    slow.ask(ResourceType::Cluster, &[], HashMap::new());
    let unanswered = slow.next().await;
    let mut quick = Delta::open(plain(server.addr).await).await;
    quick.ask(ResourceType::Cluster, &[], HashMap::new());
    let first = quick.next().await;
    quick.ack(&first);
    for i in 1..=100 {
        server.cache.commit(set(vec![cluster("a", &i.to_string())]));
        let response = quick.next().await;
        assert_eq!(content(&response), [("a", &*i.to_string())]);
        quick.ack(&response);
    }
    slow.ack(&unanswered);
    assert_eq!(content(&slow.next().await), [("a", "100")]);
    server.stop().await;
}

#[tokio::test]
async fn bytes_are_counted_as_encoded() {
    let server = open_server(vec![cluster("a", "1"), cluster("b", "22")]).await;
    let mut stream = Delta::open(plain(server.addr).await).await;
    stream.ask(ResourceType::Cluster, &[], HashMap::new());
    let first = stream.next().await;
    stream.ack(&first);
    server.cache.commit(set(vec![cluster("b", "333")]));
    let second = stream.next().await;
    stream.ack(&second);
    let bytes = first.encoded_len() + second.encoded_len();
    eventually("both responses to be accepted", async || {
        server.metrics().contains(r#"contour_xds_acks_total{type="cds"} 2"#).then_some(())
    })
    .await;
    let node = &server.nodes.snapshot()[0];
    assert_eq!((&*node.node, node.mode, node.bytes_sent), ("n", Mode::Delta, bytes as u64));
    let metrics = server.metrics();
    for line in [
        format!(r#"contour_xds_bytes_sent_total{{type="cds"}} {bytes}"#),
        r#"contour_xds_resources_sent_total{type="cds"} 3"#.to_owned(),
        r#"contour_xds_responses_sent_total{type="cds"} 2"#.to_owned(),
        r#"contour_xds_connected_streams{mode="delta"} 1"#.to_owned(),
        r#"contour_xds_commit_to_ack_seconds_count{type="cds"} 1"#.to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    drop(stream);
    eventually("the stream to be forgotten", async || {
        let gone = server.metrics().contains(r#"contour_xds_connected_streams{mode="delta"} 0"#);
        (gone && server.nodes.snapshot().is_empty()).then_some(())
    })
    .await;
    server.stop().await;
}

async fn first_sotw(
    request: DiscoveryRequest,
    open: impl AsyncFnOnce(UnboundedReceiverStream<DiscoveryRequest>) -> Streaming<DiscoveryResponse>,
) -> DiscoveryResponse {
    let (requests, outbound) = mpsc::unbounded_channel();
    requests.send(request).unwrap();
    let mut responses = open(UnboundedReceiverStream::new(outbound)).await;
    responses.message().await.unwrap().unwrap()
}

#[tokio::test]
async fn state_of_the_world_aggregated_and_per_type() {
    let server = open_server(vec![cluster("a", "1"), cluster("b", "2")]).await;
    let channel = plain(server.addr).await;
    let request = DiscoveryRequest { type_url: ResourceType::Cluster.url().to_owned(), ..Default::default() };
    let mut aggregated = AggregatedDiscoveryServiceClient::new(channel.clone());
    let all = first_sotw(request, async |out| {
        aggregated.stream_aggregated_resources(out).await.unwrap().into_inner()
    });
    assert_eq!(all.await.resources.len(), 2);
    // On a stream of one type the type goes without saying.
    let mut clusters = ClusterDiscoveryServiceClient::new(channel);
    let request = DiscoveryRequest { resource_names: vec!["b".to_owned()], ..Default::default() };
    let one =
        first_sotw(request, async |out| clusters.stream_clusters(out).await.unwrap().into_inner()).await;
    assert_eq!(one.resources.iter().map(|r| &*r.value).collect::<Vec<_>>(), [b"2"]);
    server.stop().await;
}

#[tokio::test]
async fn odd_requests_harm_only_themselves() {
    let server = open_server(vec![cluster("a", "1")]).await;
    let channel = plain(server.addr).await;
    let mut stream = Delta::open(channel.clone()).await;
    let odd = DeltaDiscoveryRequest { type_url: "type.googleapis.com/odd".to_owned(), ..Default::default() };
    stream.requests.send(odd).unwrap();
    let stray = DeltaDiscoveryRequest {
        type_url: ResourceType::Endpoints.url().to_owned(),
        response_nonce: "99".to_owned(),
        ..Default::default()
    };
    stream.requests.send(stray).unwrap();
    stream.ask(ResourceType::Cluster, &[], HashMap::new());
    assert_eq!(content(&stream.next().await), [("a", "1")]);
    let unary = ClusterDiscoveryServiceClient::new(channel).fetch_clusters(DiscoveryRequest::default()).await;
    assert_eq!(unary.unwrap_err().code(), Code::Unimplemented);
    server.stop().await;
}

#[tokio::test]
async fn what_is_held_back_is_counted_as_long_as_it_is() {
    let server = open_server(vec![cluster("a", "bad"), cluster("b", "bad"), cluster("c", "good")]).await;
    let stream = Delta::open(plain(server.addr).await).await;
    stream.ask(ResourceType::Cluster, &[], HashMap::new());
    let stream = tokio::spawn(stream.judge("bad"));
    let until = async |count: usize| {
        let kind = ResourceType::Cluster.short();
        let line = format!("contour_xds_held_back_resources{{type=\"{kind}\"}} {count}\n");
        eventually(&line, async || server.metrics().contains(&line).then_some(())).await;
        assert_eq!(server.facts.present().len(), count);
    };
    until(2).await;
    server.cache.commit(set(vec![cluster("a", "good")]));
    until(1).await;
    server.cache.commit(Transaction { set: vec![], remove: vec![(ResourceType::Cluster, "b".into())] });
    until(0).await;
    server.cache.commit(set(vec![cluster("a", "bad")]));
    until(1).await;
    stream.abort();
    until(0).await;
    server.stop().await;
}
