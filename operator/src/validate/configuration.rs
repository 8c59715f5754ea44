//! `spec.configuration`: what other fields decide, and what the controller cannot do.

use contour_crds::{ContourConfiguration, ContourDeployment};

use crate::adoption::Adopted;
use crate::build::{Inputs, configuration as built};
use crate::defaults::Defaults;
use crate::names::Names;
use crate::problem::Problem;

/// What the controller cannot be started with.
pub(super) fn not_served(deployment: &ContourDeployment, names: &Names, defaults: &Defaults) -> Vec<Problem> {
    let inputs =
        Inputs { deployment, names, defaults, kept: None, addresses: &[], adopted: &Adopted::NOTHING };
    let ContourConfiguration { spec, .. } = built(&inputs);
    let problems = contour::config::check_configuration(&spec).into_iter().map(|problem| {
        let field = problem.field.strip_prefix("spec").unwrap_or(&problem.field);
        Problem::unsupported(format!("spec.configuration{field}"), problem.message)
    });
    problems.collect()
}

/// The fields that the operator writes itself, each with the one that decides it.
pub(super) fn decided_elsewhere(deployment: &ContourDeployment) -> Vec<Problem> {
    let Some(given) = deployment.spec.configuration.as_deref() else { return Vec::new() };
    let envoy = given.envoy.as_deref().cloned().unwrap_or_default();
    let published = !deployment.spec.publishing.addresses.is_empty();
    let addresses =
        published && given.ingress.as_ref().is_some_and(|ingress| ingress.status_address.is_some());
    let classes = given.ingress.as_ref().is_some_and(|ingress| !ingress.class_names.is_empty());
    // Zero switches the admin interface off, which no other field can say.
    let admin = envoy.network.and_then(|network| network.admin_port).is_some_and(|port| port != 0);
    let fields = [
        ("xdsServer", given.xds_server.is_some(), "the operator decides where Envoy finds the controller"),
        ("ingress.classNames", classes, "spec.ingressClassName decides"),
        ("ingress.statusAddress", addresses, "spec.publishing.addresses decides"),
        ("health", given.health.is_some(), "the operator decides where it probes the controller"),
        ("metrics", given.metrics.is_some(), "the operator decides where it probes the controller"),
        ("envoy.service", envoy.service.is_some(), "the operator names Envoy's Service, see spec.names"),
        ("envoy.http", envoy.http.is_some(), "spec.envoy.{ports.http, listenAddress, accessLog} decide"),
        ("envoy.https", envoy.https.is_some(), "spec.envoy.{ports.https, listenAddress, accessLog} decide"),
        ("envoy.health", envoy.health.is_some(), "spec.envoy.ports.metrics decides"),
        ("envoy.metrics", envoy.metrics.is_some(), "spec.envoy.ports.metrics decides"),
        (
            "envoy.network.adminPort",
            admin,
            "spec.envoy.ports.admin decides; only 0, for none, can be given here",
        ),
    ];
    let given = fields.into_iter().filter(|(_, given, _)| *given);
    given
        .map(|(field, _, decides)| {
            Problem::invalid(format!("spec.configuration.{field}"), format!("{decides}; delete this field"))
        })
        .collect()
}
