//! `spec.contour.extraArgs`: flags that `contour serve` has and no other field decides.

use clap::CommandFactory as _;
use contour::cli::Cli;
use contour_crds::ContourDeployment;

use crate::adoption::Adopted;
use crate::build::{Inputs, contour_arguments};
use crate::defaults::Defaults;
use crate::names::Names;
use crate::problem::Problem;

/// The flags that may be given. The object with the configuration cannot say them, and no field of ours does.
const FREE: [&str; 9] = [
    "kubernetes-client-burst",
    "kubernetes-client-qps",
    "kubernetes-debug",
    "leader-election-lease-duration",
    "leader-election-renew-deadline",
    "leader-election-retry-period",
    "log-format",
    "share-httpproxy-hosts",
    "strict-host-ownership",
];

/// Flags that have a field, which is the way to say it.
const FIELDS: [(&str, &str); 15] = [
    ("config-path", "spec.configuration"),
    ("contour-config-name", "spec.configuration"),
    ("debug", "spec.contour.logLevel"),
    ("disable-feature", "spec.contour.disabledFeatures"),
    ("disable-leader-election", "spec.contour.replicas"),
    ("envoy-http-access-log", "spec.envoy.accessLog"),
    ("envoy-https-access-log", "spec.envoy.accessLog"),
    ("envoy-service-http-address", "spec.envoy.listenAddress"),
    ("envoy-service-http-port", "spec.envoy.ports.http"),
    ("envoy-service-https-address", "spec.envoy.listenAddress"),
    ("envoy-service-https-port", "spec.envoy.ports.https"),
    ("ingress-class-name", "spec.ingressClassName"),
    ("leader-election-resource-name", "spec.names"),
    ("stats-port", "spec.envoy.ports.metrics"),
    ("watch-namespaces", "spec.contour.watchNamespaces"),
];

/// What is wrong with the further flags.
pub(super) fn arguments(deployment: &ContourDeployment, names: &Names, defaults: &Defaults) -> Vec<Problem> {
    let given = &deployment.spec.contour.extra_args;
    let field = |index: usize| format!("spec.contour.extraArgs[{index}]");
    let refused: Vec<Problem> = given
        .iter()
        .enumerate()
        .filter_map(|(index, argument)| Some(Problem::invalid(field(index), refusal(argument)?)))
        .collect();
    if given.is_empty() || !refused.is_empty() {
        return refused;
    }
    // All are known: whether their values can be read only the command itself can tell.
    let inputs =
        Inputs { deployment, names, defaults, kept: None, addresses: &[], adopted: &Adopted::NOTHING };
    let command = std::iter::once("contour".to_owned()).chain(contour_arguments(&inputs));
    let Err(error) = Cli::of(command) else { return refused };
    let text = error.to_string();
    let cause = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    vec![Problem::invalid("spec.contour.extraArgs", format!("{cause}; see `contour serve --help`"))]
}

/// Why an argument is refused, if it is.
fn refusal(argument: &str) -> Option<String> {
    let Some(flag) = argument.strip_prefix("--") else {
        return Some(format!("\"{argument}\" is not a flag: write flag and value as one item, --flag=value"));
    };
    let name = flag.split('=').next().unwrap_or(flag);
    if FREE.contains(&name) {
        return None;
    }
    let name = if is_flag(name) { name } else { name.strip_prefix("no-").unwrap_or(name) };
    if !is_flag(name) {
        return Some(format!(
            "`contour serve` has no flag --{name}; those that can be given are --{}",
            FREE.join(", --")
        ));
    }
    let decides = FIELDS.iter().find(|(flag, _)| *flag == name).map(|(_, field)| *field);
    Some(match decides {
        Some(field) => format!("--{name} is what {field} decides; use that field"),
        None => format!(
            "--{name} is the operator's to decide, or what a field of spec.configuration says; use that"
        ),
    })
}

/// True for the long name of a flag of `contour serve`.
fn is_flag(name: &str) -> bool {
    let command = Cli::command();
    let serve = command.find_subcommand("serve");
    let own = |command: &clap::Command| command.get_arguments().any(|flag| flag.get_long() == Some(name));
    own(&command) || serve.is_some_and(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_the_tables_exists() {
        for flag in FREE.into_iter().chain(FIELDS.into_iter().map(|(flag, _)| flag)) {
            assert!(is_flag(flag), "{flag}");
        }
    }
}
