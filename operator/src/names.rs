//! What the children of a `ContourDeployment` are called, and the labels by which they are watched.

use std::collections::BTreeMap;

use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::NameScheme;

use crate::child::{ChildKind, ChildRef};
use crate::problem::Problem;

/// The class that is served when none is named.
pub const DEFAULT_CLASS: &str = "contour";

/// The field manager of all writes.
pub const FIELD_MANAGER: &str = "contour-operator";

/// The finalizer of a `ContourDeployment`: children that no owner reference can reach are removed before it goes.
pub const FINALIZER: &str = "operator.projectcontour.io/cleanup";

/// What labels and annotations of the operator begin with.
pub(crate) const OWN_PREFIX: &str = "operator.projectcontour.io/";

/// Label of every child: the name of its `ContourDeployment`. It proves nothing, see [`crate::ownership`].
pub const OWNER_NAME: &str = "operator.projectcontour.io/contourdeployment-name";

/// Label of every child: the namespace of its `ContourDeployment`.
pub const OWNER_NAMESPACE: &str = "operator.projectcontour.io/contourdeployment-namespace";

/// Annotation of every child that no owner reference reaches: the UID of its `ContourDeployment`.
pub const OWNER_UID: &str = "operator.projectcontour.io/contourdeployment-uid";

/// Annotation of a `ContourDeployment`: the operator that works on it, by namespace and name of its Lease.
pub const OPERATED_BY: &str = "operator.projectcontour.io/operated-by";

/// Label of a namespace whose owner lets the installations of another one read its objects, Secrets included: the name of that other one.
pub const WATCHED_BY: &str = "operator.projectcontour.io/watched-by";

/// Annotation of every child: the hash of what was applied last.
pub const APPLIED: &str = "operator.projectcontour.io/applied";

/// Annotation of a workload of Envoy that was made by others and keeps its pods as they run: the ports that they listen on.
pub const ADOPTED: &str = "operator.projectcontour.io/adopted";

/// Annotation of a workload of Envoy that gives up nodes for the one that replaces it; a Deployment's says how many pods it had.
pub const YIELDS: &str = "operator.projectcontour.io/yields";

/// Annotation of Envoy's Service: the addresses for statuses, separated by commas. The controller reads it.
pub use contour_k8s::ADDRESSES;

/// Longest name of a `ContourDeployment`: `contour-<name>` is the name of a Service, which has 63 characters at most.
const LONGEST: usize = 63 - "contour-".len();

/// What the children of one `ContourDeployment` are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Namespace of the `ContourDeployment` and its children.
    pub namespace: String,
    /// Name of the `ContourDeployment`.
    pub instance: String,
    /// The controller: Deployment, Service, ServiceAccount, PodDisruptionBudget, HorizontalPodAutoscaler, ContourConfiguration. Role and
    /// RoleBinding of earlier versions.
    pub contour: String,
    /// Envoy: DaemonSet or Deployment, Service, ServiceAccount, PodDisruptionBudget.
    pub envoy: String,
    /// `ConfigMap`s with Envoy's bootstraps: what their names begin with.
    pub bootstrap: String,
    /// Secret with the controller's certificate.
    pub contour_secret: String,
    /// Secret with Envoy's certificate.
    pub envoy_secret: String,
    /// Secret with the key of the certificate authority, which no pod mounts.
    pub ca_secret: String,
    /// Lease of the controllers.
    pub lease: String,
    /// RoleBinding to what the controller may do in its own namespace.
    pub own_binding: String,
    /// To what is served: RoleBinding in each watched namespace, or ClusterRoleBinding.
    pub served_binding: String,
    /// ClusterRoleBinding for reading namespaces.
    pub namespaces_binding: String,
    /// ClusterRole and ClusterRoleBinding of earlier versions.
    pub former_cluster_role: String,
    /// Role and RoleBinding of earlier versions, in each watched namespace.
    pub former_resources_role: String,
    /// The IngressClass.
    pub ingress_class: String,
}

impl Names {
    /// The names of a `ContourDeployment`'s children, or why there can be none.
    pub fn of(deployment: &ContourDeployment) -> Result<Self, Problem> {
        let instance = deployment.metadata.name.clone().unwrap_or_default();
        let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
        if instance.len() > LONGEST || !is_label(&instance) {
            return Err(Problem::invalid(
                "metadata.name",
                format!(
                    "names of Services and labels are made of it, so it has to be 1 to {LONGEST} lower-case letters, digits \
                     and dashes, and \"{instance}\" is not; create the object under another name"
                ),
            ));
        }
        let stock = deployment.spec.names == Some(NameScheme::Stock);
        let derived = |name: &str| if stock { name.to_owned() } else { format!("{name}-{instance}") };
        Ok(Self {
            contour: derived("contour"),
            envoy: derived("envoy"),
            bootstrap: derived("envoy-bootstrap"),
            contour_secret: derived("contourcert"),
            envoy_secret: derived("envoycert"),
            ca_secret: derived("contour-ca"),
            lease: derived("leader-elect"),
            // No dash between the two: `a-b` and `c` would be called as `a` and `b-c`.
            former_cluster_role: format!("contour-{namespace}.{instance}"),
            former_resources_role: format!("contour-resources-{namespace}.{instance}"),
            // What a binding refers to cannot be changed: these names are none of those that earlier versions used, for whatever object.
            own_binding: if stock { "contour.own".to_owned() } else { format!("contour.own.{instance}") },
            served_binding: format!("contour.served.{namespace}.{instance}"),
            namespaces_binding: format!("contour.namespaces.{namespace}.{instance}"),
            ingress_class: deployment
                .spec
                .ingress_class_name
                .clone()
                .unwrap_or_else(|| DEFAULT_CLASS.to_owned()),
            namespace,
            instance,
        })
    }

    /// The child of this kind and name in the namespace of the `ContourDeployment`.
    pub fn child(&self, kind: ChildKind, name: &str) -> ChildRef {
        ChildRef { kind, namespace: Some(self.namespace.clone()), name: name.to_owned() }
    }

    /// The selector of [`Self::owner_labels`].
    pub fn owner_selector(&self) -> String {
        let labels = self.owner_labels();
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }

    /// The labels that every child has. Objects of others may have them too: see [`crate::ownership`].
    pub fn owner_labels(&self) -> BTreeMap<String, String> {
        [(OWNER_NAME, &self.instance), (OWNER_NAMESPACE, &self.namespace)]
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .into()
    }
}

/// True for a DNS label: lower-case letters, digits, and dashes within.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}
