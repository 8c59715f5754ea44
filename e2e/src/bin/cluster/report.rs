//! What a person needs to see when a step fails.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};

use crate::objects::CONTOUR_DEPLOYMENT;
use crate::world::World;

/// The namespaces whose pods are told about.
const NAMESPACES: [&str; 4] = ["contour-operator", "projectcontour", "e2e-others", "e2e-apps"];

/// Prints statuses, pods with the ends of their logs, and warnings.
pub(crate) async fn print(world: &World) {
    for object in world.objects.list(CONTOUR_DEPLOYMENT, "").await.unwrap_or_default() {
        println!("\n-- ContourDeployment {}: {}", object.name_any(), object.data["status"]);
    }
    for namespace in NAMESPACES {
        let pods: Api<Pod> = Api::namespaced(world.objects.client(), namespace);
        for pod in pods.list(&ListParams::default()).await.into_iter().flatten() {
            print_pod(&pods, &pod).await;
        }
        let events: Api<Event> = Api::namespaced(world.objects.client(), namespace);
        for event in events.list(&ListParams::default().fields("type=Warning")).await.into_iter().flatten() {
            let object = &event.involved_object;
            println!(
                "-- {namespace}: {} {}: {}",
                object.kind.as_deref().unwrap_or_default(),
                object.name.as_deref().unwrap_or_default(),
                event.message.unwrap_or_default()
            );
        }
    }
}

async fn print_pod(pods: &Api<Pod>, pod: &Pod) {
    let (name, status) = (pod.name_any(), pod.status.clone().unwrap_or_default());
    println!(
        "\n-- pod {}/{name}: {}",
        pod.namespace().unwrap_or_default(),
        status.phase.as_deref().unwrap_or("?")
    );
    let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    for container in containers {
        println!("   {}: ready {}, restarts {}", container.name, container.ready, container.restart_count);
        if let Some(waiting) = container.state.as_ref().and_then(|state| state.waiting.as_ref()) {
            println!("   waiting: {waiting:?}");
        }
        for previous in [true, false] {
            if previous && container.restart_count == 0 {
                continue;
            }
            let end = LogParams {
                container: Some(container.name.clone()),
                tail_lines: Some(30),
                previous,
                ..LogParams::default()
            };
            if let Ok(log) = pods.logs(&name, &end).await {
                log.lines().for_each(|line| println!("   | {line}"));
            }
        }
    }
}
