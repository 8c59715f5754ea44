//! What `contour-operator diff` says of each state that a child can be in.

use std::collections::BTreeMap;
use std::sync::Arc;

use contour_crds::ContourDeployment;
use contour_operator::adoption::Adopted;
use contour_operator::apply::stamped;
use contour_operator::build::{Inputs, Stages, build};
use contour_operator::child::{ChildKind, ChildRef};
use contour_operator::defaults::Defaults;
use contour_operator::diff::{Comparison, Difference, Wanted, compare};
use contour_operator::names::Names;
use contour_operator::ownership::Owner;
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// An installation that is as it should be.
struct World {
    owner: Owner,
    stages: Stages,
    secrets: Vec<ChildRef>,
    found: BTreeMap<ChildRef, Arc<DynamicObject>>,
}

impl World {
    fn new() -> Self {
        let defaults = Defaults {
            contour_image: "example/contour:v1".to_owned(),
            envoy_image: "example/envoy:v1".to_owned(),
            agent_image: "example/contour:v1".to_owned(),
            version: "1.0.0".to_owned(),
            namespace: "contour-operator".to_owned(),
        };
        let metadata = json!({"name": "site", "namespace": "edge", "uid": "own"});
        let deployment: ContourDeployment =
            serde_json::from_value(json!({"metadata": metadata, "spec": {}})).expect("it is one");
        let names = Names::of(&deployment).expect("the names are right");
        let inputs = Inputs {
            deployment: &deployment,
            names: &names,
            defaults: &defaults,
            kept: None,
            addresses: &[],
            adopted: &Adopted::NOTHING,
        };
        let stages = build(&inputs);
        let secrets = [&names.ca_secret, &names.contour_secret, &names.envoy_secret]
            .map(|name| names.child(ChildKind::Secret, name));
        let mut found: BTreeMap<_, _> =
            stages.all().map(|child| (child.reference(), Arc::new(stamped(child)))).collect();
        for secret in &secrets {
            let mut object = stages.contour[0].object.clone();
            (object.metadata.name, object.data) = (Some(secret.name.clone()), json!({}));
            found.insert(secret.clone(), Arc::new(object));
        }
        let owner = Owner::of(&deployment, &names, &<_>::default());
        Self { owner, stages, secrets: secrets.into(), found }
    }

    /// Changes the object of this kind and name.
    fn edit(&mut self, kind: ChildKind, name: &str, change: impl FnOnce(&mut Value)) {
        let child = self.child(kind, name);
        let mut value = serde_json::to_value(&*self.found[&child]).expect("objects are JSON");
        change(&mut value);
        self.found.insert(child, Arc::new(serde_json::from_value(value).expect("it is an object")));
    }

    fn child(&self, kind: ChildKind, name: &str) -> ChildRef {
        let namespace = kind.namespaced().then(|| self.owner.namespace().to_owned());
        ChildRef { kind, namespace, name: name.to_owned() }
    }

    fn compared(&self) -> (Vec<Difference>, Vec<String>) {
        let wanted = Wanted { stages: &self.stages, secrets: &self.secrets, kept: &[] };
        compare(&self.owner, &wanted, &self.found)
    }

    fn lines(&self) -> String {
        let (differences, _) = self.compared();
        Comparison { differences, ..Comparison::default() }.to_string()
    }
}

#[test]
fn what_is_as_it_should_be_is_not_told() {
    assert_eq!(World::new().compared(), (Vec::new(), Vec::new()));
}

#[test]
fn each_state_has_its_line_in_the_order_of_the_operator() {
    let mut world = World::new();
    world.edit(ChildKind::ServiceAccount, "contour-site", |account| {
        account["metadata"]["labels"] = json!({"app.kubernetes.io/name": "contour"});
    });
    world.found.remove(&world.child(ChildKind::RoleBinding, "contour.own.site"));
    world.edit(ChildKind::ClusterRoleBinding, "contour.served.edge.site", |binding| {
        binding["metadata"]["annotations"]["operator.projectcontour.io/contourdeployment-uid"] =
            json!("other");
    });
    world.found.remove(&world.child(ChildKind::Secret, "envoycert-site"));
    world.edit(ChildKind::Secret, "contourcert-site", |secret| {
        secret["metadata"]["ownerReferences"] = json!([]);
    });
    world.edit(ChildKind::Deployment, "contour-site", |contour| {
        contour["metadata"]["annotations"]["operator.projectcontour.io/applied"] = json!("before");
    });
    let bootstrap = world.found.keys().find(|child| child.kind == ChildKind::ConfigMap).cloned().unwrap();
    world.edit(ChildKind::ConfigMap, &bootstrap.name, |map| {
        map["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    world.edit(ChildKind::Service, "envoy-site", |service| service["spec"]["type"] = json!("LoadBalancer"));
    let mut old = (*world.found[&world.child(ChildKind::DaemonSet, "envoy-site")]).clone();
    old.metadata.name = Some("envoy".to_owned());
    world.found.insert(world.child(ChildKind::DaemonSet, "envoy"), Arc::new(old.clone()));
    // What only says that it is ours stays, and what is ours and does not say so is not seen.
    let mut silent = old.clone();
    silent.metadata.labels = None;
    world.found.insert(world.child(ChildKind::DaemonSet, "silent"), Arc::new(silent));
    old.metadata.owner_references = None;
    world.found.insert(world.child(ChildKind::DaemonSet, "theirs"), Arc::new(old));
    let expected = format!(
        "\
ServiceAccount edge/contour-site: edited (metadata.labels.app.kubernetes.io/component)
RoleBinding edge/contour.own.site: missing
ClusterRoleBinding contour.served.edge.site: not ours: was made for another ContourDeployment, of UID other
Secret edge/contourcert-site: not ours: was not made by this operator: it has no controller reference
Secret edge/envoycert-site: missing
Deployment edge/contour-site: changed
{bootstrap}: is being deleted, and would be made again
Service edge/envoy-site: edited (spec.type)
DaemonSet edge/envoy: would be deleted
"
    );
    assert_eq!(world.lines(), expected);
    let (differences, _) = world.compared();
    assert_eq!(
        serde_json::to_value(&differences[0]).unwrap(),
        json!({
            "kind": "ServiceAccount", "namespace": "edge", "name": "contour-site", "change": "edited",
            "path": "metadata.labels.app.kubernetes.io/component",
        })
    );
}

#[test]
fn the_class_of_somebody_else_is_left() {
    let mut world = World::new();
    world.edit(ChildKind::IngressClass, "contour", |class| class["metadata"] = json!({"name": "contour"}));
    let (differences, notes) = world.compared();
    assert_eq!(differences, []);
    assert!(
        matches!(&notes[..], [note] if note.starts_with("IngressClass contour was not made")),
        "{notes:?}"
    );
}
