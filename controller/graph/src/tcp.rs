//! TCP proxying of a root (reference 1.9).

use std::sync::Arc;

use contour_crds::httpproxy::TcpProxy as TcpSpec;
use contour_objects::{Kind, ObjectRef, Proxy};

use crate::budget::Bill;
use crate::build::{Build, Reported};
use crate::include::{MOST_LEVELS, check_cycle, child, target};
use crate::model::{HeaderPolicy, TcpProxy, WeightedCluster};
use crate::route::{check_sum, origin, weight};
use crate::service::ClusterPolicy;
use crate::{cost, policy, service, unsupported};

/// Resolves `spec.tcpproxy`, through its includes.
pub(crate) fn resolve(b: &mut Build<'_>, root: &Proxy, spec: &TcpSpec) -> Result<TcpProxy, Reported> {
    let mut path = vec![root.name.clone()];
    let mut node = included(b, root, spec)?;
    while let Some(proxy) = node.take() {
        check_cycle(b, &path, &proxy.name, "TCPProxyIncludeError")?;
        b.reach(&proxy.name);
        let Some(spec) = proxy.spec.tcpproxy.as_deref() else { return Err(nothing_defined(b, &proxy)) };
        if path.len() >= MOST_LEVELS {
            let message = format!("the chain of includes has more than {MOST_LEVELS} levels");
            return Err(b.error(&proxy.name, "TCPProxyIncludeError", "TooManyIncludes", message));
        }
        path.push(proxy.name.clone());
        node = included(b, &proxy, spec)?;
        if node.is_none() {
            return leaf(b, &proxy, spec);
        }
    }
    leaf(b, root, spec)
}

/// The HTTPProxy that a TCP proxy includes; `None` where it has services itself.
fn included(b: &mut Build<'_>, proxy: &Proxy, spec: &TcpSpec) -> Result<Option<Arc<Proxy>>, Reported> {
    let include = spec.include.as_deref().or(spec.includes.as_deref());
    match (spec.services.is_empty(), include) {
        (false, Some(_)) => {
            let message = "cannot specify services and include in the same httpproxy";
            Err(b.error(&proxy.name, "TCPProxyError", "NoServicesAndInclude", message))
        }
        (false, None) => Ok(None),
        (true, Some(include)) => {
            let name = target(proxy, include.namespace.as_deref(), &include.name);
            child(b, proxy, &name, "TCPProxyIncludeError").map(Some)
        }
        (true, None) => Err(nothing_defined(b, proxy)),
    }
}

fn nothing_defined(b: &mut Build<'_>, proxy: &Proxy) -> Reported {
    b.error(
        &proxy.name,
        "TCPProxyError",
        "NothingDefined",
        "either services or inclusion must be specified in tcpproxy",
    )
}

fn leaf(b: &mut Build<'_>, proxy: &Proxy, spec: &TcpSpec) -> Result<TcpProxy, Reported> {
    let (load_balancer, ignored) = policy::plain_load_balancer(spec.load_balancer_policy.as_deref());
    if let Some(message) = ignored {
        b.warn(&proxy.name, "TCPProxyError", "IgnoredField", message);
    }
    let shared = ClusterPolicy {
        load_balancer,
        health_check: spec.health_check_policy.as_deref().map(policy::tcp_health_check),
        ..ClusterPolicy::default()
    };
    let mut clusters = Vec::new();
    for reference in &spec.services {
        unsupported::service(b, &proxy.name, reference);
        let unresolved = ("TCPProxyError", "Spec.TCPProxy");
        let Some(cluster) = service::cluster(b, proxy, reference, &shared, None, unresolved)? else {
            // As Contour: a TCP proxy with a service that does not resolve does not serve.
            return Err(Reported);
        };
        clusters.push(WeightedCluster {
            cluster: b.share(cluster),
            weight: weight(b, proxy, reference.weight)?,
            request_headers: HeaderPolicy::default(),
            response_headers: HeaderPolicy::default(),
        });
    }
    check_sum(b, proxy, &clusters)?;
    let writer = ObjectRef::new(Kind::HttpProxy, proxy.name.clone());
    let amount = cost::shares(&clusters);
    b.charge(&Bill { writer, includer: None }, amount, "TCPProxyError")?;
    if clusters.iter().all(|c| c.weight == 0) {
        for cluster in &mut clusters {
            cluster.weight = 1;
        }
    }
    clusters.retain(|c| c.weight > 0);
    Ok(TcpProxy { clusters, origin: origin(proxy) })
}
