//! Envoy's workload. Its template says nothing of the controller's version or image, so that an upgrade of the controller leaves it alone.

use contour_crds::contour_deployment::{ContourLogLevel, EnvoyLogLevel};
use contour_envoy::bootstrap::DRAIN_TIME_SECONDS;
use contour_graph::parse_duration;
use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, Deployment, DeploymentSpec, DeploymentStrategy,
    RollingUpdateDaemonSet, RollingUpdateDeployment,
};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, HTTPGetAction, Lifecycle, LifecycleHandler, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, Sysctl, Volume,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::bootstrap::{ADMIN_SOCKET, CERTIFICATES, DIRECTORY, FILE};
use super::meta::{self, Component};
use super::{BOOTSTRAP_HASH, Inputs, bootstrap, contour, pods};
use crate::names::ADOPTED;
use crate::patch::{Patched, Target};
use crate::settings::Settings;

/// The container of Envoy.
pub const ENVOY_CONTAINER: &str = "envoy";

/// The container of the agent that drains Envoy: an init container that stays, so that it is there before Envoy and ends after it.
pub const AGENT_CONTAINER: &str = "shutdown-manager";

/// The names of volumes that the operator makes itself, and where they are mounted.
pub(crate) const VOLUMES: [(&str, &str); 3] =
    [("config", DIRECTORY), ("certs", CERTIFICATES), ("admin", ADMIN_DIRECTORY)];

/// Where Envoy and its agent meet.
const ADMIN_DIRECTORY: &str = "/admin";

/// Pods of a Deployment, unless told otherwise.
const REPLICAS: i32 = 2;

/// Seconds until a pod ends even if connections are open, unless told otherwise.
const GRACE_SECONDS: i64 = 300;

/// The image of the agent: the one asked for; else the one that is recorded, as long as Envoy's image does not change, which replaces the pods anyway;
/// else that of the operator.
pub fn agent_image<'a>(inputs: &Inputs<'a>) -> &'a str {
    let asked = inputs.deployment.spec.envoy.agent_image.as_deref();
    let kept = inputs.kept.filter(|kept| kept.envoy_image == inputs.settings().envoy_image);
    asked.or(kept.map(|kept| kept.agent_image.as_str())).unwrap_or(&inputs.defaults.agent_image)
}

/// Envoy, on every node.
pub(super) fn daemon_set(inputs: &Inputs<'_>, hash: &str) -> DaemonSet {
    let asked = &inputs.deployment.spec.envoy.update_strategy;
    let tenth = || IntOrString::String("10%".to_owned());
    let rolling = RollingUpdateDaemonSet {
        max_unavailable: Some(asked.max_unavailable.clone().unwrap_or_else(tenth)),
        max_surge: None,
    };
    let keeps = inputs.adopted.keeps().is_some();
    let (type_, rolling) = if keeps { ("OnDelete", None) } else { ("RollingUpdate", Some(rolling)) };
    DaemonSet {
        metadata: workload(inputs),
        spec: DaemonSetSpec {
            selector: meta::selector(inputs, Component::Envoy),
            template: template(inputs, hash).made(),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some(type_.to_owned()),
                rolling_update: rolling,
            }),
            ..DaemonSetSpec::default()
        },
        status: None,
    }
}

/// Envoy, a number of pods. On the network of nodes a pod has to go before another can have its ports.
pub(super) fn deployment(inputs: &Inputs<'_>, hash: &str) -> Deployment {
    let spec = &inputs.deployment.spec.envoy;
    let (unavailable, surge) = if inputs.settings().host_network {
        (IntOrString::Int(1), IntOrString::Int(0))
    } else {
        (IntOrString::Int(0), IntOrString::String("10%".to_owned()))
    };
    let rolling = RollingUpdateDeployment {
        max_unavailable: spec.update_strategy.max_unavailable.clone().or(Some(unavailable)),
        max_surge: spec.update_strategy.max_surge.clone().or(Some(surge)),
    };
    // The number is the autoscaler's to choose.
    let own = spec.autoscaling.is_none() && !spec.external_replicas;
    Deployment {
        metadata: workload(inputs),
        spec: DeploymentSpec {
            // What is paused keeps its pods as they run.
            paused: inputs.adopted.keeps().map(|_| true),
            replicas: own.then(|| spec.replicas.unwrap_or(REPLICAS)),
            selector: meta::selector(inputs, Component::Envoy),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(rolling),
            }),
            template: template(inputs, hash).made(),
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

fn workload(inputs: &Inputs<'_>) -> ObjectMeta {
    let mut metadata = meta::namespaced(inputs, Component::Envoy, &inputs.names.envoy);
    let keeps = inputs.adopted.keeps().map(|ports| (ADOPTED.to_owned(), ports.to_owned()));
    metadata.annotations = keeps.map(|keeps| [keeps].into());
    metadata
}

/// How many pods of a Deployment may be evicted at a time. Pods of a DaemonSet are not evicted.
pub(super) fn disruption_budget(inputs: &Inputs<'_>) -> PodDisruptionBudget {
    let asked = &inputs.deployment.spec.envoy.disruption_budget;
    contour::budget(inputs, Component::Envoy, &inputs.names.envoy, asked)
}

/// What chooses the number of pods of a Deployment, if that is asked for.
pub(super) fn autoscaler(inputs: &Inputs<'_>) -> Option<HorizontalPodAutoscaler> {
    let asked = inputs.deployment.spec.envoy.autoscaling?;
    Some(contour::scaled(inputs, Component::Envoy, &inputs.names.envoy, ENVOY_CONTAINER, asked))
}

/// The pod template, without and with its patch.
pub(crate) fn template(inputs: &Inputs<'_>, hash: &str) -> Patched<PodTemplateSpec> {
    Patched::of(Target::Pod, plain_template(inputs, hash), &inputs.deployment.spec.envoy.pod_template_patch)
}

fn plain_template(inputs: &Inputs<'_>, hash: &str) -> PodTemplateSpec {
    let (spec, settings) = (&inputs.deployment.spec.envoy, inputs.settings());
    let mut pod = PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![proxy(inputs)],
        init_containers: Some(vec![agent(inputs)]),
        security_context: Some(security(&settings)),
        termination_grace_period_seconds: Some(grace_seconds(inputs)),
        volumes: Some(volumes(inputs, hash)),
        ..pods::placed(inputs, Component::Envoy, &spec.placement, &inputs.names.envoy)
    };
    if settings.host_network {
        pod.host_network = Some(true);
        pod.dns_policy = Some("ClusterFirstWithHostNet".to_owned());
    }
    PodTemplateSpec {
        metadata: Some(pods::metadata(
            inputs,
            Component::Envoy,
            (&spec.pod_labels, &spec.pod_annotations),
            ("/stats/prometheus", settings.ports.metrics),
            (BOOTSTRAP_HASH, hash),
        )),
        spec: Some(pod),
    }
}

/// Envoy itself.
fn proxy(inputs: &Inputs<'_>) -> Container {
    let (spec, settings) = (&inputs.deployment.spec.envoy, inputs.settings());
    let ports = settings.ports;
    // A runtime knows no address of a pod on the network of its node: without a host the kubelet's hook would fail, and Envoy end undrained.
    let drain = LifecycleHandler {
        http_get: Some(HTTPGetAction {
            host: settings.host_network.then(|| "127.0.0.1".to_owned()),
            ..get("/shutdown", IntOrString::Int(i32::from(ports.shutdown)))
        }),
        ..LifecycleHandler::default()
    };
    // On the network of the node the scheduler then knows which nodes have these ports to give.
    let listening = [("http", ports.http), ("https", ports.https), ("metrics", ports.metrics)];
    let mut mounts = vec![
        pods::mount("config", DIRECTORY, true),
        pods::mount("certs", CERTIFICATES, true),
        pods::mount("admin", ADMIN_DIRECTORY, false),
    ];
    mounts.extend(spec.extra_volume_mounts.iter().cloned());
    Container {
        env: Some(vec![
            pods::field("CONTOUR_NAMESPACE", "metadata.namespace"),
            pods::field("ENVOY_POD_NAME", "metadata.name"),
        ]),
        lifecycle: Some(Lifecycle { pre_stop: Some(drain), ..Lifecycle::default() }),
        ports: Some(listening.into_iter().map(|(name, port)| on_host(&settings, name, port)).collect()),
        readiness_probe: Some(Probe {
            http_get: Some(get("/ready", IntOrString::String("metrics".to_owned()))),
            initial_delay_seconds: Some(3),
            period_seconds: Some(4),
            ..Probe::default()
        }),
        resources: Some(pods::resources(spec.resources.as_ref(), "200m", "256Mi")),
        security_context: Some(pods::least_rights(as_root(&settings).then_some("NET_BIND_SERVICE"))),
        volume_mounts: Some(mounts),
        ..pods::container(
            ENVOY_CONTAINER,
            settings.envoy_image,
            spec.image_pull_policy,
            "envoy",
            arguments(inputs),
        )
    }
}

/// A level, as Envoy calls it.
fn level(level: EnvoyLogLevel) -> &'static str {
    match level {
        EnvoyLogLevel::Trace => "trace",
        EnvoyLogLevel::Debug => "debug",
        EnvoyLogLevel::Info => "info",
        EnvoyLogLevel::Warn => "warning",
        EnvoyLogLevel::Error => "error",
        EnvoyLogLevel::Critical => "critical",
        EnvoyLogLevel::Off => "off",
    }
}

/// The flags of Envoy. Nothing here restarts hot, and the sockets for that would be the node's.
fn arguments(inputs: &Inputs<'_>) -> Vec<String> {
    let spec = &inputs.deployment.spec.envoy;
    let level = level(spec.log_level.unwrap_or_default());
    let mut arguments = vec![
        format!("--config-path {DIRECTORY}/{FILE}"),
        "--service-cluster $(CONTOUR_NAMESPACE)".to_owned(),
        "--service-node $(ENVOY_POD_NAME)".to_owned(),
        format!("--log-level {level}"),
        "--disable-hot-restart".to_owned(),
        format!("--drain-time-s {DRAIN_TIME_SECONDS}"),
    ];
    let components = spec.component_log_levels.iter();
    let components: Vec<String> =
        components.map(|(component, of)| format!("{component}:{}", self::level(*of))).collect();
    if !components.is_empty() {
        arguments.push(format!("--component-log-level {}", components.join(",")));
    }
    arguments.extend(spec.concurrency.map(|threads| format!("--concurrency {threads}")));
    arguments.iter().flat_map(|argument| argument.split(' ')).map(str::to_owned).collect()
}

/// The agent that drains Envoy when its pod ends. It has neither a hook nor a liveness probe: its own restart never drains Envoy.
fn agent(inputs: &Inputs<'_>) -> Container {
    let (spec, settings) = (&inputs.deployment.spec.envoy, inputs.settings());
    let shutdown = &spec.shutdown;
    let mut arguments = vec![
        "envoy".to_owned(),
        "shutdown-manager".to_owned(),
        "--drain".to_owned(),
        format!("--serve-port={}", settings.ports.shutdown),
        format!("--admin-address={ADMIN_SOCKET}"),
        format!("--ready-file={ADMIN_DIRECTORY}/ok"),
        format!("--drain-timeout={}s", drain_seconds(grace_seconds(inputs))),
        format!("--envoy-cafile={CERTIFICATES}/ca.crt"),
        format!("--envoy-cert-file={CERTIFICATES}/tls.crt"),
    ];
    if settings.host_network {
        // The kubelet of this node: else whoever reaches the node could drain Envoy.
        arguments.push("--shutdown-from=node".to_owned());
    }
    let durations = [
        ("drain-delay", &shutdown.drain_delay),
        ("check-delay", &shutdown.check_delay),
        ("check-interval", &shutdown.check_interval),
    ];
    let given = durations.into_iter().filter_map(|(flag, value)| Some((flag, value.as_deref()?)));
    arguments.extend(given.map(|(flag, value)| format!("--{flag}={value}")));
    if shutdown.min_open_connections > 0 {
        arguments.push(format!("--min-open-connections={}", shutdown.min_open_connections));
    }
    Container {
        env: (shutdown.log_level == Some(ContourLogLevel::Debug)).then(|| {
            vec![EnvVar { name: "RUST_LOG".to_owned(), value: Some("debug".to_owned()), value_from: None }]
        }),
        ports: Some(vec![on_host(&settings, "shutdown", settings.ports.shutdown)]),
        resources: Some(pods::resources(shutdown.resources.as_ref(), "10m", "32Mi")),
        restart_policy: Some("Always".to_owned()),
        // Envoy starts when there is someone to drain it.
        startup_probe: Some(Probe {
            http_get: Some(get("/healthz", IntOrString::String("shutdown".to_owned()))),
            period_seconds: Some(1),
            failure_threshold: Some(60),
            ..Probe::default()
        }),
        volume_mounts: Some(vec![
            pods::mount("certs", CERTIFICATES, true),
            pods::mount("admin", ADMIN_DIRECTORY, false),
        ]),
        ..pods::container(AGENT_CONTAINER, agent_image(inputs), spec.image_pull_policy, "contour", arguments)
    }
}

fn on_host(settings: &Settings<'_>, name: &str, number: u16) -> k8s_openapi::api::core::v1::ContainerPort {
    let mut port = pods::port(name, number);
    port.host_port = settings.host_network.then_some(i32::from(number));
    port
}

/// True if Envoy has to be uid 0 to open its ports. The kernel gives a process of another user a capability only by its file, and images of Envoy
/// have none there; in a network of its own a pod needs none, see [`security`].
fn as_root(settings: &Settings<'_>) -> bool {
    settings.host_network && settings.ports.privileged()
}

/// Both containers run as one user: Envoy's administration is for its user alone.
fn security(settings: &Settings<'_>) -> PodSecurityContext {
    let root = as_root(settings);
    let low = settings.ports.privileged() && !settings.host_network;
    // In a network of its own, this lets any user open any port, and is safe as Kubernetes has it.
    let unprivileged =
        Sysctl { name: "net.ipv4.ip_unprivileged_port_start".to_owned(), value: "0".to_owned() };
    PodSecurityContext {
        fs_group: Some(pods::NOBODY),
        run_as_group: Some(pods::NOBODY),
        run_as_non_root: (!root).then_some(true),
        run_as_user: Some(if root { 0 } else { pods::NOBODY }),
        seccomp_profile: Some(pods::seccomp()),
        sysctls: low.then(|| vec![unprivileged]),
        ..PodSecurityContext::default()
    }
}

fn volumes(inputs: &Inputs<'_>, hash: &str) -> Vec<Volume> {
    let spec = &inputs.deployment.spec;
    let own = spec.certificates.secret_refs.as_ref().map(|secrets| &secrets.envoy);
    let [(config, _), (certificates, _), (admin, _)] = VOLUMES;
    let mut volumes = vec![
        bootstrap::volume(inputs, config, hash),
        pods::secret(certificates, own.unwrap_or(&inputs.names.envoy_secret)),
        Volume {
            name: admin.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    ];
    volumes.extend(spec.envoy.extra_volumes.iter().cloned());
    volumes
}

fn get(path: &str, port: IntOrString) -> HTTPGetAction {
    HTTPGetAction { path: Some(path.to_owned()), port, ..HTTPGetAction::default() }
}

/// Seconds until a pod ends even if connections are open.
fn grace_seconds(inputs: &Inputs<'_>) -> i64 {
    inputs.deployment.spec.envoy.shutdown.grace_period.as_deref().map_or(GRACE_SECONDS, seconds)
}

/// Seconds after which the agent gives up, so that Envoy can end in good order within the grace period.
fn drain_seconds(grace: i64) -> i64 {
    grace - (grace / 5).min(10)
}

/// Whole seconds of a duration, rounded up.
fn seconds(duration: &str) -> i64 {
    let duration = parse_duration(duration).expect("a duration of the schema is one");
    i64::try_from(duration.as_millis().div_ceil(1000)).expect("a duration is at most 100 years")
}
