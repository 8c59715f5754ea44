//! What the operator cannot do with the rights that it has: asked of the API server at start, and told, a line for each.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::build::FixedRole;
use crate::child::ChildKind;

/// Questions at the same time.
const AT_ONCE: usize = 8;

/// A right that the operator uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// API group.
    pub group: String,
    /// Resource, with a subresource after a slash.
    pub resource: String,
    /// The verb.
    pub verb: &'static str,
    /// The only object that it is for, if it is for one.
    pub name: Option<&'static str>,
}

/// Something that the operator does, and what it needs for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What does not happen without it, as a sentence.
    pub without: String,
    /// What it needs, in every namespace.
    pub rights: Vec<Right>,
}

impl Capability {
    fn new(without: &str, group: &str, resource: &str, verbs: &[&'static str]) -> Self {
        let right = |verb: &&'static str| Right {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb,
            name: None,
        };
        Self { without: without.to_owned(), rights: verbs.iter().map(right).collect() }
    }
}

/// Everything that the operator does.
pub fn capabilities() -> Vec<Capability> {
    const OURS: &str = "operator.projectcontour.io";
    let of = Capability::new;
    let mut all = vec![
        of("no ContourDeployment is worked on", OURS, "contourdeployments", &["list", "watch", "patch"]),
        of("no status is written", OURS, "contourdeployments/status", &["patch"]),
        of("no ContourPolicy is obeyed, and nothing begins", OURS, "contourpolicies", &["list", "watch"]),
        of(
            "no namespace can consent to be watched, and nothing begins",
            "",
            "namespaces",
            &["list", "watch"],
        ),
        of("every node counts as ready", "", "nodes", &["list", "watch"]),
        of("nothing is known of pods, and nothing begins", "", "pods", &["list", "watch"]),
        of("nothing is known of pods, and nothing begins", "apps", "replicasets", &["list", "watch"]),
        of("why a DaemonSet makes no pods is not told", "", "events", &["list"]),
        of("no Event is written", "events.k8s.io", "events", &["create", "patch"]),
        of(
            "nobody knows whether another operator is alive, and the lease of a Contour that is gone stays",
            "coordination.k8s.io",
            "leases",
            &["get", "delete"],
        ),
    ];
    for kind in ChildKind::ALL {
        let resource = kind.resource();
        // Those are fixed, and removed where an earlier version made some.
        let verbs: &[_] = if kind.is_role() {
            &["get", "list", "watch", "delete"]
        } else {
            &["get", "list", "watch", "create", "patch", "delete"]
        };
        let without = format!("no {kind} is made, healed or removed");
        all.push(of(&without, &resource.group, &resource.plural, verbs));
    }
    for role in FixedRole::ALL {
        let name = Some(role.name());
        let right = Right {
            group: "rbac.authorization.k8s.io".to_owned(),
            resource: "clusterroles".to_owned(),
            verb: "bind",
            name,
        };
        let without = format!("no Contour is given ClusterRole {}", role.name());
        all.push(Capability { without, rights: vec![right] });
    }
    all
}

/// What of that the operator cannot do: each with the rights that it lacks alone.
pub async fn lacking(client: &Client) -> kube::Result<Vec<Capability>> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut lacking = Vec::new();
    for capability in capabilities() {
        let asked: Vec<_> = capability.rights.iter().map(|right| ask(api.clone(), right.clone())).collect();
        let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        let mut rights = Vec::new();
        for answer in answers {
            let (right, allowed) = answer?;
            if !allowed {
                rights.push(right);
            }
        }
        if !rights.is_empty() {
            lacking.push(Capability { rights, ..capability });
        }
    }
    Ok(lacking)
}

/// Whether the operator has a right.
async fn ask(api: Api<SelfSubjectAccessReview>, right: Right) -> kube::Result<(Right, bool)> {
    let answer = api.create(&PostParams::default(), &review(&right)).await?;
    Ok((right, answer.status.is_some_and(|status| status.allowed)))
}

fn review(right: &Right) -> SelfSubjectAccessReview {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource.to_owned(), Some(subresource.to_owned())),
        None => (right.resource.clone(), None),
    };
    let attributes = ResourceAttributes {
        group: Some(right.group.clone()),
        resource: Some(resource),
        subresource,
        verb: Some(right.verb.to_owned()),
        name: right.name.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..<_>::default() };
    SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
}

/// Says in the log what the operator cannot do.
pub async fn tell(client: &Client) {
    match lacking(client).await {
        Ok(lacking) => {
            for Capability { without, rights } in lacking {
                let verbs: Vec<&str> = rights.iter().map(|right| right.verb).collect();
                let (group, resource) = rights.first().map_or(("", ""), |r| (&r.group, &r.resource));
                tracing::warn!(
                    group,
                    resource,
                    verbs = verbs.join(","),
                    "a right is missing: {without}; give the operator's service account every right of bundle/install.yaml"
                );
            }
        }
        Err(error) => {
            tracing::warn!("what the operator may do cannot be asked: {:#}", anyhow::Error::from(error));
        }
    }
}
