//! Patches: merged as the API server merges them, and applied by the operator.

use anyhow::{Context as _, Result, ensure};
use contour_crds::ContourDeployment;
use contour_e2e::apiserver;
use contour_operator::adoption::Adopted;
use contour_operator::build::{Inputs, build};
use contour_operator::child::{Child, ChildKind};
use contour_operator::names::Names;
use contour_operator::patch::{Target, patched};
use contour_operator::status::condition;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::support::{World, defaults};

/// An object of the API server, and where in it what a patch is of stands.
struct Subject {
    api: Api<DynamicObject>,
    live: DynamicObject,
    target: Target,
    pointer: &'static str,
}

impl Subject {
    async fn create(client: &Client, child: &Child, target: Target, pointer: &'static str) -> Result<Self> {
        let reference = child.reference();
        let namespace = reference.namespace.context("it has a namespace")?;
        let api = Api::namespaced_with(client.clone(), &namespace, &child.kind.resource());
        let mut object = child.object.clone();
        object.metadata.owner_references = None;
        let live = api.create(&PostParams::default(), &object).await?;
        Ok(Self { api, live, target, pointer })
    }

    fn name(&self) -> &str {
        self.live.metadata.name.as_deref().unwrap_or_default()
    }

    /// What the API server makes of a patch; `None`: it refuses it, or what comes of it.
    async fn by_server(&self, patch: &Map<String, Value>) -> Option<Value> {
        let mut whole = json!(patch);
        for field in self.pointer.rsplit('/').filter(|field| !field.is_empty()) {
            whole = json!({ field: whole });
        }
        let mut params = PatchParams { dry_run: true, ..PatchParams::default() };
        params.field_validation = Some(ValidationDirective::Strict);
        let answer = self.api.patch(self.name(), &params, &Patch::Strategic(&whole)).await;
        answer.ok().map(|object| self.subject(&object))
    }

    /// The same by us; the API server gets the result, and puts its defaults in.
    async fn by_us(&self, patch: &Map<String, Value>) -> Result<Option<Value>> {
        let mut whole = serde_json::to_value(&self.live)?;
        let subject = whole.pointer_mut(self.pointer).context("it is there")?;
        let types = (self.pointer.is_empty()).then(|| (subject["apiVersion"].take(), subject["kind"].take()));
        if let (Some(fields), Some(_)) = (subject.as_object_mut(), &types) {
            // Of a whole object, the type is no field to patch.
            fields.retain(|name, _| name != "apiVersion" && name != "kind");
        }
        let Ok(mut merged) = patched(self.target, subject, patch) else { return Ok(None) };
        if let Some((version, kind)) = types {
            (merged["apiVersion"], merged["kind"]) = (version, kind);
        }
        *subject = merged;
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let Ok(object) = serde_json::from_value(whole) else { return Ok(None) };
        let answer = self.api.replace(self.name(), &params, &object).await;
        Ok(answer.ok().map(|object| self.subject(&object)))
    }

    fn subject(&self, object: &DynamicObject) -> Value {
        let mut value = serde_json::to_value(object).unwrap_or_default();
        let mut value = value.pointer_mut(self.pointer).map(Value::take).unwrap_or_default();
        if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| name == "labels" || name == "annotations");
        }
        if self.target == Target::Service {
            value = json!({ "metadata": value["metadata"], "spec": value["spec"] });
        }
        value
    }
}

/// An object with some of these fields.
fn some(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let all = fields.len();
    subsequence(fields, 0..=all.min(4))
        .prop_flat_map(|fields| {
            let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
            values.prop_map(move |values| {
                let fields = names.iter().map(|name| (*name).to_owned()).zip(values);
                Value::Object(fields.filter(|(_, value)| value != "absent").collect())
            })
        })
        .boxed()
}

fn one(values: &[Value]) -> BoxedStrategy<Value> {
    select(values.to_vec()).boxed()
}

/// A list of items, each with its key, and now and then a directive.
fn items(
    key: &'static str,
    keys: &[Value],
    fields: Vec<(&'static str, BoxedStrategy<Value>)>,
) -> BoxedStrategy<Value> {
    let directive =
        prop_oneof![8 => Just(Value::Null), 1 => Just(json!("delete")), 1 => Just(json!("replace"))];
    let item = (some(fields), directive).prop_map(|(mut item, directive)| {
        if !directive.is_null() {
            // What else such an item says is thrown away by the API server, and looked at by us.
            item = json!({ "$patch": directive });
        }
        item
    });
    let most = keys.len().min(3);
    (subsequence(keys.to_vec(), 0..=most).prop_shuffle(), proptest::collection::vec(item, most))
        .prop_map(move |(keys, items)| {
            let keyed = keys.into_iter().zip(items).map(|(name, mut item)| {
                item[key] = name;
                item
            });
            keyed.collect()
        })
        .boxed()
}

/// A security context, of a pod or of a container: with one more field, and directives.
fn context(name: &'static str, values: &[Value]) -> BoxedStrategy<Value> {
    let fields = some(vec![
        ("runAsUser", one(&[json!(7), Value::Null, json!("7")])),
        (name, one(values)),
        ("$patch", one(&[json!("replace"), json!("absent")])),
        ("$retainKeys", one(&[json!(["runAsUser", name]), json!("absent")])),
    ]);
    prop_oneof![6 => fields, 1 => Just(json!({"$patch": "delete"}))].boxed()
}

fn names(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!(name)).collect()
}

/// The lists of a container that are merged.
fn lists_of_containers() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let ports = [json!(8080), json!(8443), json!(7000), json!(7001)];
    let env = vec![("value", one(&[json!("1"), Value::Null])), ("valueFrom", one(&[Value::Null]))];
    let port = vec![
        ("name", one(&[json!("p"), json!("q"), Value::Null])),
        ("protocol", one(&[json!("UDP"), json!("TCP")])),
    ];
    let mount =
        vec![("name", one(&[json!("x"), json!("certs")])), ("readOnly", one(&[json!(true), Value::Null]))];
    vec![
        ("env", items("name", &names(&["CONTOUR_NAMESPACE", "A", "B"]), env)),
        ("ports", items("containerPort", &ports, port)),
        ("volumeMounts", items("mountPath", &names(&["/certs", "/a", "/b"]), mount)),
    ]
}

fn container() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let resources = [
        json!({"limits": {"cpu": "2"}}),
        json!({"requests": null}),
        json!({"$patch": "replace", "limits": {"cpu": 1}}),
    ];
    let probes =
        [Value::Null, json!({"periodSeconds": 9}), json!({"httpGet": null, "exec": {"command": ["true"]}})];
    let capabilities = [Value::Null, json!({"drop": ["X"]}), json!({"$patch": "replace", "add": ["X"]})];
    let mut fields = lists_of_containers();
    fields.extend([
        ("image", one(&[json!("x:1"), json!("y:1"), Value::Null, json!(1)])),
        ("args", one(&[json!(["a"]), json!([]), Value::Null])),
        ("tty", one(&[json!(true), json!(false), json!("true")])),
        ("imag", one(&[json!("x"), json!("absent"), json!("absent")])),
        ("resources", one(&resources)),
        ("readinessProbe", one(&probes)),
        ("securityContext", context("capabilities", &capabilities)),
    ]);
    fields
}

fn volumes() -> BoxedStrategy<Value> {
    let volume = vec![
        ("emptyDir", one(&[json!({}), json!({"sizeLimit": "1Gi"}), Value::Null])),
        ("secret", one(&[Value::Null, json!({"secretName": "s", "items": [{"key": "a", "path": "b"}]})])),
        ("configMap", one(&[Value::Null])),
        ("$retainKeys", one(&[json!(["name", "emptyDir"]), json!("absent")])),
    ];
    items("name", &names(&["config", "certs", "admin", "x"]), volume)
}

/// The fields of a pod that are no lists to be merged.
fn plain_fields() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let terms = json!([{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    let selectors =
        [json!({"a": "b", "kubernetes.io/os": null}), json!({"$patch": "replace", "c": "d"}), Value::Null];
    let profiles =
        [Value::Null, json!({"type": "Unconfined"}), json!({"$patch": "replace", "type": "Unconfined"})];
    vec![
        ("tolerations", one(&[json!([{"key": "a", "operator": "Exists"}]), Value::Null])),
        ("nodeSelector", one(&selectors)),
        ("affinity", one(&[json!({"nodeAffinity": required})])),
        ("securityContext", context("seccompProfile", &profiles)),
        ("dnsPolicy", one(&[json!("Default"), Value::Null])),
        ("terminationGracePeriodSeconds", one(&[json!(9), Value::Null, json!(1.5)])),
        ("$patch", one(&[json!("merge"), json!("absent"), json!("absent"), json!("absent")])),
    ]
}

/// Patches of Envoy's pod template, right and wrong ones.
fn of_pods() -> BoxedStrategy<Value> {
    let spread = vec![("maxSkew", one(&[json!(2)])), ("whenUnsatisfiable", one(&[json!("DoNotSchedule")]))];
    let zones = names(&["kubernetes.io/hostname", "zone"]);
    let aliases = names(&["192.0.2.1", "192.0.2.2"]);
    let mut fields = vec![
        ("containers", items("name", &names(&["envoy", "more", "less"]), container())),
        ("containers", items("name", &names(&["envoy", "more"]), container())),
        ("initContainers", items("name", &names(&["shutdown-manager", "first"]), container())),
        ("volumes", volumes()),
        ("imagePullSecrets", items("name", &names(&["a", "b"]), vec![])),
        ("hostAliases", items("ip", &aliases, vec![("hostnames", one(&[json!(["h"])]))])),
        ("topologySpreadConstraints", items("topologyKey", &zones, spread)),
    ];
    fields.extend(plain_fields());
    let annotations = [
        json!({"a/b": "c"}),
        json!({"prometheus.io/scrape": null}),
        Value::Null,
        json!({"$patch": "replace", "x": "y"}),
    ];
    let metadata = some(vec![
        ("labels", one(&[json!({"a": "b"}), json!({"a": null}), json!({"a": 1})])),
        ("annotations", one(&annotations)),
    ]);
    (metadata, some(fields))
        .prop_map(|(metadata, spec)| json!({ "metadata": metadata, "spec": spec }))
        .boxed()
}

fn of_services() -> BoxedStrategy<Value> {
    let port = vec![
        ("name", one(&[json!("http"), json!("https"), json!("more")])),
        ("targetPort", one(&[json!("http"), json!(9), Value::Null, json!(true)])),
        ("appProtocol", one(&[json!("https"), Value::Null])),
        ("nodePort", one(&[Value::Null])),
    ];
    let spec = some(vec![
        ("ports", items("port", &[json!(80), json!(443), json!(8002)], port)),
        ("sessionAffinity", one(&[json!("ClientIP"), Value::Null, json!(true)])),
        (
            "selector",
            one(&[json!({"a": "b", "app.kubernetes.io/name": null}), json!({"$patch": "replace", "x": "y"})]),
        ),
        ("loadBalancerSourceRanges", one(&[json!(["192.0.2.0/24"]), Value::Null])),
        ("type", one(&[json!("LoadBalancer"), Value::Null])),
        ("externalIPs", one(&[json!(["192.0.2.1"])])),
        ("sessionAfinity", one(&[json!("None"), json!("absent"), json!("absent")])),
    ]);
    spec.prop_map(|spec| json!({ "spec": spec })).boxed()
}

async fn agree(subject: &Subject, patches: &BoxedStrategy<Value>, cases: usize) -> Result<()> {
    let mut runner = TestRunner::deterministic();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..cases {
        let patch = patches.new_tree(&mut runner).map_err(|error| anyhow::anyhow!("{error}"))?.current();
        let patch = patch.as_object().cloned().context("a patch is an object")?;
        let (theirs, ours) = (subject.by_server(&patch).await, subject.by_us(&patch).await?);
        ensure!(theirs == ours, "{}\nAPI server: {}\nwe: {}", json!(patch), json!(theirs), json!(ours));
        *if ours.is_some() { &mut taken } else { &mut refused } += 1;
    }
    ensure!(
        taken > cases / 8 && refused > cases / 8,
        "{taken} taken, {refused} refused: not what is to be tried"
    );
    Ok(())
}

#[tokio::test]
async fn patches_are_merged_as_the_api_server_merges_them() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let client = api.client().await?;
    let namespace = api.namespace("patched").await?;
    let spec = json!({ "envoy": { "workload": "Deployment" }, "publishing": { "type": "NodePortService" } });
    let deployment: ContourDeployment = serde_json::from_value(
        json!({ "metadata": { "name": "edge", "namespace": namespace }, "spec": spec }),
    )?;
    let names = Names::of(&deployment).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let defaults = defaults();
    let inputs = Inputs {
        deployment: &deployment,
        names: &names,
        defaults: &defaults,
        kept: None,
        addresses: &[],
        adopted: &Adopted::NOTHING,
    };
    let stages = build(&inputs);
    let child = |kind| stages.all().find(|child| child.kind == kind && child.reference().name == names.envoy);
    let pods = child(ChildKind::Deployment).context("there is a Deployment")?;
    let service = child(ChildKind::Service).context("there is a Service")?;
    let pods = Subject::create(&client, pods, Target::Pod, "/spec/template").await?;
    agree(&pods, &of_pods(), 400).await?;
    let service = Subject::create(&client, service, Target::Service, "").await?;
    agree(&service, &of_services(), 120).await
}

/// Allowed by a policy, applied with its nulls as the API server keeps them, and quiet from then on; without one it is refused.
#[tokio::test]
async fn a_patch_comes_to_the_cluster_where_policy_allows_it() -> Result<()> {
    let Some(api) = apiserver::require().await else { return Ok(()) };
    let world = World::new(api, "patch-applied").await?;
    let operator = world.operator();
    let patch = json!({"spec": {
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "tolerations": [{"operator": "Exists"}], "hostPID": false,
        "containers": [{"name": "envoy", "readinessProbe": {"initialDelaySeconds": null}}],
    }});
    world.create("edge", json!({"envoy": {"podTemplatePatch": patch}})).await?;
    let before = world.settled(&operator, "edge").await?;
    let envoy = world.child(ChildKind::DaemonSet, "envoy-edge");
    let envoy = world.api(&envoy).get(&envoy.name).await?;
    let pod = &envoy.data["spec"]["template"]["spec"];
    assert_eq!(pod["dnsConfig"]["options"][0]["name"], "ndots");
    assert_eq!(pod["containers"][0]["readinessProbe"].get("initialDelaySeconds"), None);
    let written = operator.changes();
    operator.look_again(&world, "edge").await?;
    assert_eq!(
        (world.versions("edge").await?, operator.changes()),
        (before, written),
        "it is written again and again"
    );

    // What would leave Envoy without its drain is refused, and what runs stays.
    let drain = json!({"spec": {"containers": [{"name": "envoy", "lifecycle": null}]}});
    let mut edge = world.deployments().get("edge").await?;
    edge.spec.envoy.pod_template_patch = drain.as_object().cloned().context("it is an object")?;
    // A JSON merge patch would lose what is null.
    world.deployments().replace("edge", &PostParams::default(), &edge).await?;
    world.condition("edge", condition::DEGRADED, true, "Invalid").await?;
    let after = world.api(&world.child(ChildKind::DaemonSet, "envoy-edge")).get("envoy-edge").await?;
    assert_eq!(after.metadata.generation, envoy.metadata.generation);
    Ok(())
}
