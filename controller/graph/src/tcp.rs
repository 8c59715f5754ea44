//! TCP proxying of a root (reference 1.9).

use std::sync::Arc;

use contour_crds::httpproxy::TcpProxy as TcpSpec;
use contour_objects::{NamespacedName, Proxy};

use crate::build::{Build, Reported};
use crate::include::{check_cycle, child, target};
use crate::model::{HeaderPolicy, TcpProxy, WeightedCluster};
use crate::route::{check_sum, origin, weight};
use crate::service::ClusterPolicy;
use crate::{policy, service, unsupported};

/// Resolves `spec.tcpproxy`, through its includes.
pub(crate) fn resolve(b: &mut Build<'_>, root: &Proxy, spec: &TcpSpec) -> Result<TcpProxy, Reported> {
    node(b, root, spec, &mut vec![root.name.clone()])
}

fn node(
    b: &mut Build<'_>,
    proxy: &Proxy,
    spec: &TcpSpec,
    path: &mut Vec<NamespacedName>,
) -> Result<TcpProxy, Reported> {
    b.reach(&proxy.name);
    let include = spec.include.as_deref().or(spec.includes.as_deref());
    match (spec.services.is_empty(), include) {
        (false, Some(_)) => {
            let message = "cannot specify services and include in the same httpproxy";
            Err(b.error(&proxy.name, "TCPProxyError", "NoServicesAndInclude", message))
        }
        (false, None) => leaf(b, proxy, spec),
        (true, Some(include)) => {
            let name = target(proxy, include.namespace.as_deref(), &include.name);
            let child: Arc<Proxy> = child(b, proxy, &name, "TCPProxyIncludeError")?;
            check_cycle(b, path, &name, "TCPProxyIncludeError")?;
            path.push(name);
            let Some(spec) = child.spec.tcpproxy.as_deref() else {
                b.reach(&child.name);
                return Err(nothing_defined(b, &child));
            };
            node(b, &child, spec, path)
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
            cluster: cluster.into(),
            weight: weight(b, proxy, reference.weight)?,
            request_headers: HeaderPolicy::default(),
            response_headers: HeaderPolicy::default(),
        });
    }
    check_sum(b, proxy, &clusters)?;
    if clusters.iter().all(|c| c.weight == 0) {
        for cluster in &mut clusters {
            cluster.weight = 1;
        }
    }
    clusters.retain(|c| c.weight > 0);
    Ok(TcpProxy { clusters, origin: origin(proxy) })
}
