//! The controller's workload.

use contour_crds::contour_deployment::{Autoscaling, ContourLogLevel, DisruptionBudget};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, CrossVersionObjectReference, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
};
use k8s_openapi::api::core::v1::{
    Container, HTTPGetAction, Lifecycle, LifecycleHandler, PodSecurityContext, PodSpec, PodTemplateSpec,
    Probe, SleepAction, TCPSocketAction,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta::{self, Component};
use super::{CONFIGURATION_HASH, Inputs, pods, rbac};
use crate::patch::{Patched, Target};
use crate::settings::{CONTOUR_ADMIN_PORT, XDS_PORT};

/// The container of the controller.
pub(crate) const CONTAINER: &str = "contour";

/// Pods, unless told otherwise.
const REPLICAS: i32 = 2;

/// How long a controller that has to leave serves on, in seconds: until no node sends new connections to it any more. An Envoy whose stream
/// ended before could be sent back to it, and wait for a connection to nobody while the endpoints of applications change.
const SERVES_ON: i64 = 5;

/// The controller. A changed configuration has another `hash`, and makes new pods.
pub(super) fn deployment(inputs: &Inputs<'_>, hash: &str) -> Deployment {
    let spec = &inputs.deployment.spec.contour;
    // The number is the autoscaler's to choose.
    let own = spec.autoscaling.is_none() && !spec.external_replicas;
    let replicas = own.then(|| spec.replicas.unwrap_or(REPLICAS));
    let percentage = |text: &str| Some(IntOrString::String(text.to_owned()));
    let rolling =
        RollingUpdateDeployment { max_surge: percentage("50%"), max_unavailable: percentage("25%") };
    Deployment {
        metadata: meta::namespaced(inputs, Component::Contour, &inputs.names.contour),
        spec: DeploymentSpec {
            replicas,
            selector: meta::selector(inputs, Component::Contour),
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

/// The pod template, without and with its patch.
pub(crate) fn template(inputs: &Inputs<'_>, hash: &str) -> Patched<PodTemplateSpec> {
    let patch = &inputs.deployment.spec.contour.pod_template_patch;
    Patched::of(Target::Pod, plain_template(inputs, hash), patch)
}

fn plain_template(inputs: &Inputs<'_>, hash: &str) -> PodTemplateSpec {
    let spec = &inputs.deployment.spec;
    let own = spec.certificates.secret_refs.as_ref().map(|secrets| &secrets.contour);
    let account = &inputs.names.contour;
    PodTemplateSpec {
        metadata: Some(pods::metadata(
            inputs,
            Component::Contour,
            (&spec.contour.pod_labels, &spec.contour.pod_annotations),
            ("/metrics", CONTOUR_ADMIN_PORT),
            (CONFIGURATION_HASH, hash),
        )),
        spec: Some(PodSpec {
            automount_service_account_token: Some(true),
            containers: vec![container(inputs)],
            security_context: Some(PodSecurityContext {
                fs_group: Some(pods::NOBODY),
                run_as_group: Some(pods::NOBODY),
                run_as_non_root: Some(true),
                run_as_user: Some(pods::NOBODY),
                seccomp_profile: Some(pods::seccomp()),
                ..PodSecurityContext::default()
            }),
            volumes: Some(vec![pods::secret("certs", own.unwrap_or(&inputs.names.contour_secret))]),
            ..pods::placed(inputs, Component::Contour, &spec.contour.placement, account)
        }),
    }
}

fn container(inputs: &Inputs<'_>) -> Container {
    let spec = &inputs.deployment.spec.contour;
    let port = || IntOrString::String("metrics".to_owned());
    // Ready is who serves a first complete configuration. Liveness does not ask the API server: were that down, a restart would leave
    // Envoy without the configuration that this controller has.
    let ready = HTTPGetAction { path: Some("/readyz".to_owned()), port: port(), ..HTTPGetAction::default() };
    let alive = TCPSocketAction { port: port(), host: None };
    let serve_on =
        LifecycleHandler { sleep: Some(SleepAction { seconds: SERVES_ON }), ..LifecycleHandler::default() };
    let arguments = arguments(inputs);
    Container {
        env: Some(vec![
            pods::field("CONTOUR_NAMESPACE", "metadata.namespace"),
            pods::field("POD_NAME", "metadata.name"),
        ]),
        lifecycle: Some(Lifecycle { pre_stop: Some(serve_on), ..Lifecycle::default() }),
        liveness_probe: Some(Probe { tcp_socket: Some(alive), period_seconds: Some(10), ..Probe::default() }),
        ports: Some(vec![pods::port("xds", XDS_PORT), pods::port("metrics", CONTOUR_ADMIN_PORT)]),
        readiness_probe: Some(Probe { http_get: Some(ready), period_seconds: Some(3), ..Probe::default() }),
        resources: Some(pods::resources(spec.resources.as_ref(), "100m", "128Mi")),
        volume_mounts: Some(vec![pods::mount("certs", "/certs", true)]),
        ..pods::container(
            CONTAINER,
            inputs.settings().contour_image,
            spec.image_pull_policy,
            "contour",
            arguments,
        )
    }
}

/// The flags of `contour serve`: what the configuration cannot say, then what was asked for.
pub(crate) fn arguments(inputs: &Inputs<'_>) -> Vec<String> {
    let (spec, names) = (&inputs.deployment.spec.contour, inputs.names);
    let mut arguments = vec![
        "serve".to_owned(),
        "--incluster".to_owned(),
        format!("--contour-config-name={}", names.contour),
        format!("--leader-election-resource-name={}", names.lease),
        // Whoever else has a certificate of this authority is not told the keys of hosts.
        "--envoy-client-name=envoy".to_owned(),
    ];
    if !spec.extra_args.iter().any(|argument| decides_ownership(argument)) {
        // An installation serves many teams: what one of them names is no other's.
        arguments.push("--strict-host-ownership".to_owned());
    }
    if spec.log_level == Some(ContourLogLevel::Debug) {
        arguments.push("--debug".to_owned());
    }
    let watched = rbac::watched_namespaces(inputs.deployment);
    if !watched.is_empty() {
        arguments.push(format!("--watch-namespaces={}", watched.join(",")));
    }
    let disabled = spec.disabled_features.iter();
    arguments.extend(disabled.map(|feature| format!("--disable-feature={}", feature.as_str())));
    arguments.extend(spec.extra_args.iter().cloned());
    arguments
}

/// Whether a flag of the user says who has a host name.
fn decides_ownership(argument: &str) -> bool {
    let flag = argument.split('=').next().unwrap_or(argument);
    ["--strict-host-ownership", "--share-httpproxy-hosts"].contains(&flag)
}

/// One pod at a time may be evicted. It never forbids all evictions, as a least number would for a single pod.
pub(super) fn disruption_budget(inputs: &Inputs<'_>) -> PodDisruptionBudget {
    let asked = &inputs.deployment.spec.contour.disruption_budget;
    budget(inputs, Component::Contour, &inputs.names.contour, asked)
}

/// A budget for a component, of one pod unless another one is asked for.
pub(super) fn budget(
    inputs: &Inputs<'_>,
    component: Component,
    name: &str,
    asked: &DisruptionBudget,
) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: meta::namespaced(inputs, component, name),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: asked.max_unavailable.clone().or(Some(IntOrString::Int(1))),
            selector: Some(meta::selector(inputs, component)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

/// Chooses the number of pods, if that was asked for.
pub(super) fn autoscaler(inputs: &Inputs<'_>) -> Option<HorizontalPodAutoscaler> {
    let asked = inputs.deployment.spec.contour.autoscaling?;
    Some(scaled(inputs, Component::Contour, &inputs.names.contour, CONTAINER, asked))
}

/// Chooses the number of pods of a component's Deployment, by what this container uses: others beside it may ask for nothing.
pub(super) fn scaled(
    inputs: &Inputs<'_>,
    component: Component,
    name: &str,
    container: &str,
    asked: Autoscaling,
) -> HorizontalPodAutoscaler {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(asked.target_cpu),
        ..MetricTarget::default()
    };
    let used =
        ContainerResourceMetricSource { container: container.to_owned(), name: "cpu".to_owned(), target };
    let cpu = MetricSpec {
        type_: "ContainerResource".to_owned(),
        container_resource: Some(used),
        ..MetricSpec::default()
    };
    HorizontalPodAutoscaler {
        metadata: meta::namespaced(inputs, component, name),
        spec: HorizontalPodAutoscalerSpec {
            max_replicas: asked.max_replicas,
            metrics: Some(vec![cpu]),
            min_replicas: Some(asked.min_replicas),
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: name.to_owned(),
            },
            ..HorizontalPodAutoscalerSpec::default()
        },
        status: None,
    }
}
