//! HTTPProxy as the graph reads it.

use std::sync::Arc;

use contour_crds::status::{ConditionStatus, DetailedCondition};
use contour_crds::{HTTPProxy, HTTPProxySpec};

use crate::name::{NamespacedName, class_of, created_of, name_of};

/// The type of the condition that records who has a host, where hosts have one owner.
pub const HOST_OWNER: &str = "HostOwner";

/// A host that an HTTPProxy was found to have, as its status records it: tenants write objects, and only the controller their status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it had: [`Proxy::host_claim`] of that time.
    claim: Arc<str>,
    /// Since when, in RFC 3339, in seconds and UTC.
    since: Arc<str>,
}

impl Held {
    /// What the conditions of a status record.
    pub fn recorded(conditions: &[DetailedCondition]) -> Option<Self> {
        let record =
            conditions.iter().find(|c| c.type_ == HOST_OWNER && c.status == ConditionStatus::True)?;
        let (claim, since) = (record.message.as_str().into(), record.last_transition_time.as_str().into());
        Some(Self { claim, since })
    }
}

/// An HTTPProxy without what never changes its meaning (labels, managed fields, most of its status).
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Namespace and name.
    pub name: NamespacedName,
    /// `metadata.generation`; travels into `observedGeneration`.
    pub generation: i64,
    /// Creation time, Unix seconds; 0 where the source has none (files).
    pub created: i64,
    /// The class it asks for, from annotations or `spec.ingressClassName`.
    pub class: Option<Arc<str>>,
    /// The specification.
    pub spec: HTTPProxySpec,
    /// The host it was found to have; `None` where the source has no status (files).
    pub held: Option<Held>,
}

impl From<HTTPProxy> for Proxy {
    fn from(object: HTTPProxy) -> Self {
        Self {
            name: name_of(&object.metadata),
            generation: object.metadata.generation.unwrap_or_default(),
            created: created_of(&object.metadata),
            class: class_of(&object.metadata, object.spec.ingress_class_name.as_deref()),
            spec: object.spec,
            held: None,
        }
    }
}

impl Proxy {
    /// The host name of a root, lower-cased; `None` for a child. An empty name is a root whose FQDN was not specified.
    pub fn fqdn(&self) -> Option<Arc<str>> {
        self.spec.virtualhost.as_ref().map(|host| host.fqdn.to_ascii_lowercase().into())
    }

    /// What is recorded of a root that has its host: the host, and the class, as there is an owner in each. `None` for a child.
    pub fn host_claim(&self) -> Option<String> {
        let class = self.class.as_ref().map(|class| format!(" of class \"{class}\"")).unwrap_or_default();
        Some(format!("this HTTPProxy has the host \"{}\"{class}", self.fqdn()?))
    }

    /// Since when it was found to have the host that it names, if it was. Times are compared as texts.
    pub fn has_host_since(&self) -> Option<&str> {
        let held = self.held.as_ref()?;
        self.host_claim().filter(|claim| **claim == *held.claim).map(|_| &*held.since)
    }
}
