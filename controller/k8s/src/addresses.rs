//! The addresses that statuses name, and the Service that they come from.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use contour_crds::status::{LoadBalancerIngress, PortStatus};
use contour_objects::{Kind, NamespacedName, Scope};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::watcher;
use kube::{Api, Client};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::metrics::{ErrorLabels, Metrics};
use crate::statuses::Statuses;
use crate::trouble::{Cause, Trouble};
use crate::watcher::watch;

/// Where Envoys are reached, on the Envoy Service: a comma list that is taken instead of the Service's load balancer. The operator writes it
/// where nodes are addressed and no load balancer is.
pub const ADDRESSES: &str = "operator.projectcontour.io/addresses";

/// How long a Service may have no address before statuses lose theirs.
pub const ADDRESS_GRACE: Duration = Duration::from_mins(1);

/// What stands where an address is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is neither an IP address nor a host name")]
pub struct AddressError(String);

/// Reads a comma list of IP addresses and host names, each once, in order. Blanks and empty items are left out.
pub fn parse_addresses(list: &str) -> Result<Vec<LoadBalancerIngress>, AddressError> {
    let (addresses, wrong) = read(list);
    wrong.into_iter().next().map_or(Ok(addresses), Err)
}

/// The addresses of a comma list, and what in it is none.
fn read(list: &str) -> (Vec<LoadBalancerIngress>, Vec<AddressError>) {
    let (mut addresses, mut wrong) = (Vec::new(), Vec::new());
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match parse(item) {
            Ok(address) if addresses.contains(&address) => {}
            Ok(address) => addresses.push(address),
            Err(error) => wrong.push(error),
        }
    }
    (addresses, wrong)
}

fn parse(item: &str) -> Result<LoadBalancerIngress, AddressError> {
    if let Ok(ip) = item.parse::<IpAddr>() {
        return Ok(LoadBalancerIngress { ip: Some(ip.to_string()), ..LoadBalancerIngress::default() });
    }
    let inner = |c: char| c.is_ascii_alphanumeric();
    let good_label = |label: &str| {
        label.len() <= 63
            && label.starts_with(inner)
            && label.ends_with(inner)
            && label.chars().all(|c| inner(c) || c == '-')
    };
    // What consists of digits alone was meant to be an IP address.
    let named = item.chars().any(|c| c.is_ascii_alphabetic());
    if named && item.len() <= 253 && item.split('.').all(good_label) {
        let hostname = Some(item.to_ascii_lowercase());
        return Ok(LoadBalancerIngress { hostname, ..LoadBalancerIngress::default() });
    }
    Err(AddressError(item.to_owned()))
}

/// Where the Service says that Envoys are reached, and what of it is no address.
fn addresses_of(service: &Service) -> (Vec<LoadBalancerIngress>, Vec<AddressError>) {
    let annotation = service.metadata.annotations.as_ref().and_then(|all| all.get(ADDRESSES));
    let (mut addresses, wrong) = annotation.map(|list| read(list)).unwrap_or_default();
    if addresses.is_empty() {
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        addresses = balancer.and_then(|b| b.ingress.as_ref()).into_iter().flatten().map(copied).collect();
    }
    (addresses, wrong)
}

fn copied(ingress: &k8s_openapi::api::core::v1::LoadBalancerIngress) -> LoadBalancerIngress {
    let ports = ingress.ports.iter().flatten().map(|port| PortStatus {
        error: port.error.clone(),
        port: port.port,
        protocol: port.protocol.clone(),
    });
    LoadBalancerIngress {
        hostname: ingress.hostname.clone().filter(|name| !name.is_empty()),
        ip: ingress.ip.clone().filter(|ip| !ip.is_empty()),
        ip_mode: ingress.ip_mode.clone(),
        ports: ports.collect(),
    }
}

/// Follows the Envoy Service and tells its addresses to the statuses.
///
/// A Service that loses its last address or is deleted may be about to get others, and names that resolve to nothing hurt more than old
/// addresses do for a moment: only after [`Self::grace`] without any address, statuses lose theirs.
pub struct AddressSource {
    /// The client.
    pub client: Client,
    /// The Envoy Service. It need not exist (yet), nor be in a watched namespace.
    pub service: NamespacedName,
    /// Who is told.
    pub statuses: Arc<Statuses>,
    /// Counts errors.
    pub metrics: Metrics,
    /// How long there may be no address: [`ADDRESS_GRACE`].
    pub grace: Duration,
}

impl AddressSource {
    /// Watches until the token is cancelled. What fails is tried again with growing pauses.
    pub async fn run(self, token: CancellationToken) {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.service.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.service.name));
        let mut stream = pin!(watch(services, config));
        let mut listed = Vec::new();
        let mut without_since: Option<Instant> = None;
        let mut told = None;
        loop {
            let grace_ends = without_since.map_or_else(Instant::now, |since| since + self.grace);
            let heard = tokio::select! {
                () = token.cancelled() => return,
                () = sleep_until(grace_ends), if without_since.is_some() => {
                    self.statuses.point_to(&[]);
                    without_since = None;
                    continue;
                }
                Some(item) = stream.next() => self.heard(item, &mut listed, &mut told),
            };
            match heard {
                None => {}
                Some(addresses) if addresses.is_empty() => {
                    without_since.get_or_insert_with(Instant::now);
                }
                Some(addresses) => {
                    without_since = None;
                    self.statuses.point_to(&addresses);
                }
            }
        }
    }

    /// The addresses, where an item of the watch settles what they are.
    fn heard(
        &self,
        item: watcher::Result<watcher::Event<Service>>,
        listed: &mut Vec<LoadBalancerIngress>,
        told: &mut Option<Cause>,
    ) -> Option<Vec<LoadBalancerIngress>> {
        match item {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(service)) => *listed = self.read(&service),
            Ok(watcher::Event::InitDone) => {
                *told = None;
                return Some(std::mem::take(listed));
            }
            Ok(watcher::Event::Apply(service)) => return Some(self.read(&service)),
            Ok(watcher::Event::Delete(_)) => return Some(Vec::new()),
            Err(error) => {
                let namespace = Some(Arc::clone(&self.service.namespace));
                let scope = Scope { kind: Kind::Service, namespace };
                let trouble = Trouble::new(&scope, &error);
                let labels = ErrorLabels::new(Kind::Service, trouble.cause.as_str());
                self.metrics.watch_errors.get_or_create(&labels).inc();
                if trouble.cause != Cause::Expired && told.replace(trouble.cause) != Some(trouble.cause) {
                    tracing::warn!(
                        "addresses of Service {} for statuses: {trouble} (trying again until it works)",
                        self.service
                    );
                }
            }
        }
        None
    }

    fn read(&self, service: &Service) -> Vec<LoadBalancerIngress> {
        let (addresses, wrong) = addresses_of(service);
        for error in wrong {
            tracing::warn!(
                "Service {}: annotation {ADDRESSES}: {error}; it is left out of statuses",
                self.service
            );
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(addresses: &[LoadBalancerIngress]) -> Vec<&str> {
        let one = |address: &'_ LoadBalancerIngress| match (&address.ip, &address.hostname) {
            (Some(_), Some(_)) | (None, None) => panic!("one of the two: {address:?}"),
            _ => (),
        };
        addresses.iter().for_each(one);
        addresses.iter().filter_map(|a| a.ip.as_deref().or(a.hostname.as_deref())).collect()
    }

    #[test]
    fn lists_of_addresses() {
        let good = parse_addresses(" 192.0.2.1,, 2001:DB8:0::1 ,Lb.Example.com,192.0.2.1").unwrap();
        assert_eq!(shown(&good), ["192.0.2.1", "2001:db8::1", "lb.example.com"]);
        assert!(good[0].ip.is_some() && good[1].ip.is_some() && good[2].hostname.is_some());
        assert_eq!(parse_addresses("").unwrap(), []);
        for wrong in ["192.0.2.256", "a b", "https://a", "-a", "a..b", "1.2.3", "a_b", "[::1]", "*"] {
            assert_eq!(parse_addresses(&format!("a,{wrong}")), Err(AddressError(wrong.to_owned())));
        }
    }

    #[test]
    fn the_annotation_goes_before_the_load_balancer() {
        let of = |annotation: Value, balancer: Value| {
            let service: Service = serde_json::from_value(json!({
                "metadata": {"annotations": {ADDRESSES: annotation}},
                "status": {"loadBalancer": {"ingress": balancer}},
            }))
            .unwrap();
            let (addresses, wrong) = addresses_of(&service);
            (shown(&addresses).join(" "), wrong.len())
        };
        let balancer = json!([{"ip": "192.0.2.9", "ipMode": "VIP"}, {"hostname": "lb"}]);
        assert_eq!(of(json!("192.0.2.1,b"), balancer.clone()), ("192.0.2.1 b".to_owned(), 0));
        assert_eq!(of(json!(" "), balancer.clone()), ("192.0.2.9 lb".to_owned(), 0));
        assert_eq!(of(json!("b,b,?"), balancer.clone()), ("b".to_owned(), 1));
        assert_eq!(of(json!("?"), balancer), ("192.0.2.9 lb".to_owned(), 1));
        assert_eq!(of(json!(""), json!([])), (String::new(), 0));
    }
}
