//! What a status becomes: the wanted conditions and addresses over what is there. Pure.

use std::fmt;
use std::sync::Arc;

use contour_crds::HTTPProxyStatus;
use contour_crds::status::{LoadBalancerIngress, LoadBalancerStatus};
use contour_objects::Kind;
use k8s_openapi::api::networking::v1::{
    IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressPortStatus, IngressStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::statuses::{Job, Wanted};

/// The status of an object that is written here.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Status {
    /// Of an HTTPProxy.
    Proxy(HTTPProxyStatus),
    /// Of an Ingress.
    Ingress(IngressStatus),
}

impl Status {
    /// Whether the statuses of this kind are written here.
    pub(crate) fn is_written(kind: Kind) -> bool {
        matches!(kind, Kind::HttpProxy | Kind::Ingress)
    }

    /// The status of an object as sent; `None` if it is of a kind that is not written here. One that cannot be read is written anew.
    pub(crate) fn read(kind: Kind, sent: Option<Value>) -> Option<Self> {
        match kind {
            Kind::HttpProxy => Some(Self::Proxy(typed(sent))),
            Kind::Ingress => Some(Self::Ingress(typed(sent))),
            _ => None,
        }
    }
}

fn typed<T: Default + for<'de> Deserialize<'de>>(sent: Option<Value>) -> T {
    sent.and_then(|sent| T::deserialize(sent).ok()).unwrap_or_default()
}

/// Where Envoys are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// Nobody said so far: what statuses say stays.
    #[default]
    Unknown,
    /// Here.
    Are(Arc<[LoadBalancerIngress]>),
    /// Nowhere any more; this is what was told last.
    Were(Arc<[LoadBalancerIngress]>),
}

impl Addresses {
    /// Takes note of the present ones. False: nothing changed.
    pub(crate) fn become_these(&mut self, present: &[LoadBalancerIngress]) -> bool {
        let next = match self {
            Self::Are(old) if **old == *present => return false,
            Self::Are(old) if present.is_empty() => Self::Were(Arc::clone(old)),
            _ if present.is_empty() => return false,
            _ => Self::Are(present.into()),
        };
        *self = next;
        true
    }

    /// The list that takes the place of `recorded`.
    fn over<'a>(&'a self, recorded: &'a [LoadBalancerIngress]) -> &'a [LoadBalancerIngress] {
        match self {
            Self::Are(present) => present,
            Self::Were(last) if **last == *recorded => &[],
            Self::Unknown | Self::Were(_) => recorded,
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Are(addresses) = self else { return f.write_str("none") };
        let shown =
            addresses.iter().filter_map(|address| address.ip.as_deref().or(address.hostname.as_deref()));
        f.write_str(&shown.collect::<Vec<_>>().join(","))
    }
}

impl Job {
    /// The status to write over `recorded`, or `None` where it already says all that is wanted. `now` is RFC 3339, in seconds.
    pub(crate) fn over(&self, recorded: &Status, now: &str) -> Option<Status> {
        let merged = match (&self.wanted, recorded) {
            (Wanted::Proxy(wanted), Status::Proxy(recorded)) => {
                let mut merged = wanted.merge(recorded, now).unwrap_or_else(|| recorded.clone());
                let named =
                    merged.load_balancer.as_ref().map(|balancer| &*balancer.ingress).unwrap_or_default();
                let now_named = self.addresses.over(named);
                if now_named != named {
                    merged.load_balancer = Some(LoadBalancerStatus { ingress: now_named.to_vec() });
                }
                Status::Proxy(merged)
            }
            (Wanted::Unreadable(wanted), Status::Proxy(recorded)) => {
                Status::Proxy(wanted.merge(recorded, now)?)
            }
            (Wanted::Ingress, Status::Ingress(recorded)) => Status::Ingress(self.of_ingress(recorded)?),
            (_, other) => {
                debug_assert!(false, "{:?} of {} is over {other:?}", self.wanted, self.name);
                return None;
            }
        };
        (merged != *recorded).then_some(merged)
    }

    fn of_ingress(&self, recorded: &IngressStatus) -> Option<IngressStatus> {
        let named = recorded.load_balancer.as_ref().and_then(|balancer| balancer.ingress.as_deref());
        let named: Vec<_> = named.into_iter().flatten().map(from_ingress).collect();
        // An Ingress has no place for this.
        let plain = |address: &LoadBalancerIngress| LoadBalancerIngress { ip_mode: None, ..address.clone() };
        let addresses = match &self.addresses {
            Addresses::Unknown => return None,
            Addresses::Are(present) => Addresses::Are(present.iter().map(plain).collect()),
            Addresses::Were(last) => Addresses::Were(last.iter().map(plain).collect()),
        };
        let now = addresses.over(&named);
        if now == named {
            return None;
        }
        let ingress = Some(now.iter().map(to_ingress).collect());
        Some(IngressStatus { load_balancer: Some(IngressLoadBalancerStatus { ingress }) })
    }
}

fn from_ingress(address: &IngressLoadBalancerIngress) -> LoadBalancerIngress {
    let ports = address.ports.iter().flatten().map(|port| contour_crds::status::PortStatus {
        error: port.error.clone(),
        port: port.port,
        protocol: port.protocol.clone(),
    });
    LoadBalancerIngress {
        hostname: address.hostname.clone(),
        ip: address.ip.clone(),
        ip_mode: None,
        ports: ports.collect(),
    }
}

fn to_ingress(address: &LoadBalancerIngress) -> IngressLoadBalancerIngress {
    let ports: Vec<_> = address
        .ports
        .iter()
        .map(|port| IngressPortStatus {
            error: port.error.clone(),
            port: port.port,
            protocol: port.protocol.clone(),
        })
        .collect();
    IngressLoadBalancerIngress {
        hostname: address.hostname.clone(),
        ip: address.ip.clone(),
        ports: Some(ports).filter(|ports| !ports.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use contour_graph::status::ProxyStatus;
    use contour_objects::{NamespacedName, ObjectRef};
    use serde_json::json;

    use super::*;
    use crate::statuses::Recorded;

    const NOW: &str = "2024-05-05T05:05:05Z";

    fn at(list: &str) -> Arc<[LoadBalancerIngress]> {
        crate::parse_addresses(list).unwrap().into()
    }

    fn job(kind: Kind, addresses: Addresses, unreadable: bool) -> Job {
        let name = ObjectRef::new(kind, NamespacedName::new("web", "site"));
        let status = ProxyStatus {
            object: name.name.clone(),
            generation: 1,
            errors: Vec::new(),
            warnings: Vec::new(),
            holds: None,
        };
        let wanted = match kind {
            Kind::Ingress => Wanted::Ingress,
            _ if unreadable => Wanted::Unreadable(Arc::new(status)),
            _ => Wanted::Proxy(Arc::new(status)),
        };
        let recorded = Arc::new(Recorded {
            resource_version: String::new(),
            generation: 1,
            status: Status::read(kind, None).unwrap(),
        });
        Job { name, wanted, addresses, recorded }
    }

    fn read(kind: Kind, ingress: &Value) -> Status {
        Status::read(kind, Some(json!({"loadBalancer": {"ingress": ingress}}))).unwrap()
    }

    /// The addresses of what is written, `same` where nothing is.
    fn written(kind: Kind, addresses: Addresses, recorded: &Status) -> Value {
        let job = job(kind, addresses, false);
        // Conditions are not what this is about.
        let recorded = match recorded {
            Status::Proxy(_) => {
                &job.over(recorded, NOW).map_or(recorded.clone(), |first| match (first, recorded) {
                    (Status::Proxy(first), Status::Proxy(recorded)) => Status::Proxy(HTTPProxyStatus {
                        load_balancer: recorded.load_balancer.clone(),
                        ..first
                    }),
                    _ => unreachable!(),
                })
            }
            Status::Ingress(_) => recorded,
        };
        let status = job.over(recorded, NOW).map(|status| serde_json::to_value(status).unwrap());
        status.map_or(json!("same"), |status| {
            status.pointer("/loadBalancer/ingress").cloned().unwrap_or(json!([]))
        })
    }

    #[test]
    fn addresses_are_those_of_the_source() {
        let here = json!([{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]);
        let elsewhere = json!([{"ip": "198.51.100.7"}]);
        for kind in [Kind::HttpProxy, Kind::Ingress] {
            let list = at("192.0.2.1,lb.example.com");
            let are = || Addresses::Are(list.clone());
            let were = || Addresses::Were(list.clone());
            let (nothing, with) = (Status::read(kind, None).unwrap(), |list: &Value| read(kind, list));
            assert_eq!(written(kind, are(), &nothing), here);
            assert_eq!(written(kind, are(), &with(&elsewhere)), here);
            assert_eq!(written(kind, are(), &with(&here)), "same");
            assert_eq!(written(kind, were(), &with(&here)), json!([]));
            assert_eq!(written(kind, were(), &with(&elsewhere)), "same", "not what we told");
            assert_eq!(written(kind, were(), &nothing), "same");
            for kept in [&here, &elsewhere] {
                assert_eq!(written(kind, Addresses::Unknown, &with(kept)), "same");
            }
        }
    }

    #[test]
    fn what_an_ingress_cannot_say_is_no_difference() {
        let address = LoadBalancerIngress {
            ip: Some("192.0.2.1".to_owned()),
            ip_mode: Some("VIP".to_owned()),
            ..LoadBalancerIngress::default()
        };
        let are = || Addresses::Are([address.clone()].into());
        let plain = json!([{"ip": "192.0.2.1"}]);
        assert_eq!(written(Kind::Ingress, are(), &read(Kind::Ingress, &plain)), "same");
        let with_mode = json!([{"ip": "192.0.2.1", "ipMode": "VIP"}]);
        assert_eq!(written(Kind::HttpProxy, are(), &read(Kind::HttpProxy, &plain)), with_mode);
    }

    #[test]
    fn conditions_and_addresses_are_one_write() {
        let are = Addresses::Are(at("192.0.2.1"));
        let nothing = Status::read(Kind::HttpProxy, None).unwrap();
        let status = job(Kind::HttpProxy, are.clone(), false).over(&nothing, NOW).unwrap();
        let status = serde_json::to_value(status).unwrap();
        assert_eq!(
            (&status["currentStatus"], &status["loadBalancer"]["ingress"][0]["ip"]),
            (&json!("valid"), &json!("192.0.2.1"))
        );
        let unreadable = job(Kind::HttpProxy, are, true).over(&nothing, NOW).unwrap();
        let unreadable = serde_json::to_value(unreadable).unwrap();
        assert_eq!(unreadable.get("loadBalancer"), None, "its class is not known");
        // A newer condition stays, the addresses are written all the same.
        let newer = json!({"conditions": [{"type": "Valid", "status": "True", "observedGeneration": 9, "reason": "Valid", "message": "", "lastTransitionTime": NOW}]});
        let newer = Status::read(Kind::HttpProxy, Some(newer)).unwrap();
        let status = job(Kind::HttpProxy, Addresses::Are(at("a")), false).over(&newer, NOW).unwrap();
        let status = serde_json::to_value(status).unwrap();
        assert_eq!(status["conditions"][0]["observedGeneration"], 9);
        assert_eq!(status["loadBalancer"]["ingress"], json!([{"hostname": "a"}]));
    }
}
