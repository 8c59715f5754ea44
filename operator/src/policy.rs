//! What `ContourDeployment`s may ask for. Pure.
//!
//! A `ContourDeployment` is worth a lot: its Envoy may use the network of nodes, and its Contour reads Secrets of whatever it watches. So who may
//! create one in their namespace may not have everything of it: a [`ContourPolicy`](contour_crds::ContourPolicy), which is an object of the
//! cluster, says what. While there is none, [`built_in`] holds.

mod patched;

use std::collections::BTreeSet;

use contour_crds::{ContourDeployment, PolicyRule};
use k8s_openapi::api::core::v1::Volume;

use crate::build::watched_namespaces;
use crate::defaults::Defaults;
use crate::image::{ImageReference, registry_and_path};
use crate::names::{DEFAULT_CLASS, WATCHED_BY};
use crate::problem::Problem;
use crate::settings::{host_network, ports};

/// All namespaces, images, volumes.
const ALL: &str = "*";

/// The namespace of the example, and of Contour's own manifests.
const STOCK_NAMESPACE: &str = "projectcontour";

/// Kinds of volumes that show nothing but what is in the namespace already.
const HARMLESS: [&str; 5] = ["configMap", "downwardAPI", "emptyDir", "projected", "secret"];

/// The rules that hold while no policy is there: whoever may create a `ContourDeployment` in the operator's own namespace, or in that of the
/// example, may use the network of nodes and watch everything; elsewhere they have what is theirs.
pub fn built_in(operator_namespace: &str) -> Vec<PolicyRule> {
    let own: BTreeSet<String> = [operator_namespace, STOCK_NAMESPACE].map(str::to_owned).into();
    vec![
        PolicyRule {
            name: "platform".to_owned(),
            namespaces: own.into_iter().collect(),
            host_network: true,
            watch_namespaces: vec![ALL.to_owned()],
            ..PolicyRule::default()
        },
        PolicyRule { name: "others".to_owned(), namespaces: vec![ALL.to_owned()], ..PolicyRule::default() },
    ]
}

/// The rules that hold.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The name of the `ContourPolicy` that the operator obeys.
    pub name: &'a str,
    /// Whether it is there, so that the rules are its own.
    pub exists: bool,
    /// The rules.
    pub rules: &'a [PolicyRule],
}

impl Policy<'_> {
    /// Everything that a `ContourDeployment` asks for and may not have. Empty: it may have all. `consents` says whether a namespace consents to
    /// be watched from that of the `ContourDeployment`.
    pub fn forbids(
        &self,
        deployment: &ContourDeployment,
        defaults: &Defaults,
        consents: &dyn Fn(&str) -> bool,
    ) -> Vec<Problem> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let rules: Vec<&PolicyRule> =
            self.rules.iter().filter(|rule| has(&rule.namespaces, namespace)).collect();
        if rules.is_empty() {
            let message =
                format!("no rule of {} is for namespace {namespace}; {}", self.told(), self.way_out());
            return vec![Problem::forbidden("metadata.namespace", message)];
        }
        let request = Request { deployment, namespace, rules: &rules, policy: self };
        let mut problems = request.class();
        problems.extend(request.images(defaults));
        problems.extend(request.network());
        problems.extend(request.volumes());
        problems.extend(request.watched(consents));
        problems.extend(request.patches(defaults));
        problems.sort();
        problems
    }

    fn told(&self) -> String {
        if self.exists { format!("ContourPolicy {}", self.name) } else { "the built-in policy".to_owned() }
    }

    fn way_out(&self) -> String {
        if self.exists {
            format!("an administrator can allow it in ContourPolicy {}", self.name)
        } else {
            format!(
                "an administrator can allow it by a ContourPolicy {}, see `contour-operator policy`",
                self.name
            )
        }
    }
}

/// A `ContourDeployment`, and the rules for its namespace.
struct Request<'a> {
    deployment: &'a ContourDeployment,
    namespace: &'a str,
    rules: &'a [&'a PolicyRule],
    policy: &'a Policy<'a>,
}

impl Request<'_> {
    fn allowed(&self, allows: impl Fn(&PolicyRule) -> bool) -> bool {
        self.rules.iter().any(|rule| allows(rule))
    }

    /// A problem, with the rules that would have to allow it.
    fn forbidden(&self, field: impl Into<String>, what: &str) -> Problem {
        let names: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        let (rules, allow) = if names.len() == 1 { ("rule", "does") } else { ("rules", "do") };
        let message = format!(
            "{what}, which {rules} {} of {} {allow} not allow; {}",
            names.join(", "),
            self.policy.told(),
            self.policy.way_out()
        );
        Problem::forbidden(field, message)
    }

    fn class(&self) -> Vec<Problem> {
        if self.deployment.spec.default_ingress_class && !self.allowed(|rule| rule.default_ingress_class) {
            let what = "it is to be the class of every Ingress of the cluster that names none";
            return vec![self.forbidden("spec.defaultIngressClass", what)];
        }
        let class = self.deployment.spec.ingress_class_name.as_deref().unwrap_or(DEFAULT_CLASS);
        let allows = |rule: &PolicyRule| {
            rule.ingress_classes.is_empty() || rule.ingress_classes.iter().any(|allowed| allowed == class)
        };
        if self.allowed(allows) {
            return Vec::new();
        }
        vec![self.forbidden("spec.ingressClassName", &format!("it is to serve class {class}"))]
    }

    fn images(&self, defaults: &Defaults) -> Vec<Problem> {
        let (contour, envoy) = (&self.deployment.spec.contour, &self.deployment.spec.envoy);
        let asked = [
            ("spec.contour.image", &contour.image),
            ("spec.envoy.image", &envoy.image),
            ("spec.envoy.agentImage", &envoy.agent_image),
        ];
        let forbidden =
            asked.into_iter().filter_map(|(field, image)| self.image(field, image.as_deref()?, defaults));
        forbidden.collect()
    }

    /// An image that may not be used.
    fn image(&self, field: &str, image: &str, defaults: &Defaults) -> Option<Problem> {
        let own = [&defaults.contour_image, &defaults.envoy_image, &defaults.agent_image];
        let own: Vec<String> = own.into_iter().filter_map(|image| repository(image)).collect();
        let Some(repository) = repository(image) else {
            return Some(self.forbidden(field, &format!("it names \"{image}\", which is no image")));
        };
        let fits = |allowed: &String| is_of(&repository, allowed);
        let allows = |rule: &PolicyRule| rule.images.iter().any(fits);
        let is_allowed = own.contains(&repository) || self.allowed(allows);
        (!is_allowed).then(|| self.forbidden(field, &format!("it names an image of {repository}")))
    }

    fn network(&self) -> Vec<Problem> {
        if !host_network(self.deployment) {
            return Vec::new();
        }
        if !self.allowed(|rule| rule.host_network) {
            let what = "Envoy is to use the network of its nodes (without it: spec.publishing.type LoadBalancerService, \
                        NodePortService or ClusterIPService)";
            return vec![self.forbidden("spec.envoy.hostNetwork", what)];
        }
        let ports = ports(self.deployment).named().into_iter();
        let forbidden = ports.filter(|(_, port)| !self.allows_port(*port));
        forbidden
            .map(|(name, port)| {
                self.forbidden(
                    format!("spec.envoy.ports.{name}"),
                    &format!("it is to use port {port} of nodes"),
                )
            })
            .collect()
    }

    /// Whether a port of nodes may be used.
    fn allows_port(&self, port: u16) -> bool {
        let in_range = |range: &String| is_in(port, range);
        self.allowed(|rule| {
            rule.host_network && (rule.host_ports.is_empty() || rule.host_ports.iter().any(in_range))
        })
    }

    fn allows_volume(&self, kind: &str) -> bool {
        HARMLESS.contains(&kind) || self.allowed(|rule| has(&rule.volumes, kind))
    }

    fn volumes(&self) -> Vec<Problem> {
        let volumes = self.deployment.spec.envoy.extra_volumes.iter().enumerate();
        let forbidden = volumes.flat_map(|(index, volume)| {
            let kinds = kinds(volume).into_iter().filter(|kind| !self.allows_volume(kind));
            kinds.map(move |kind| (index, kind))
        });
        forbidden
            .map(|(index, kind)| {
                let field = format!("spec.envoy.extraVolumes[{index}].{kind}");
                self.forbidden(field, &format!("it is a volume of kind {kind}"))
            })
            .collect()
    }

    fn watched(&self, consents: &dyn Fn(&str) -> bool) -> Vec<Problem> {
        let field = "spec.contour.watchNamespaces";
        let consent =
            format!("the label {WATCHED_BY}={} on a namespace says that it consents", self.namespace);
        let watched = watched_namespaces(self.deployment);
        if watched.is_empty() {
            if self.allowed(|rule| rule.watch_namespaces.iter().any(|allowed| allowed == ALL)) {
                return Vec::new();
            }
            let what = format!(
                "Contour is to read the Secrets of all namespaces (give it namespaces: {} needs nothing, and {consent})",
                self.namespace
            );
            return vec![self.forbidden(field, &what)];
        }
        let forbidden = watched.iter().filter(|namespace| {
            *namespace != self.namespace
                && !self.allowed(|rule| has(&rule.watch_namespaces, namespace))
                && !consents(namespace)
        });
        forbidden
            .map(|namespace| {
                let what = format!("Contour is to read the Secrets of namespace {namespace}, which did not consent ({consent})");
                self.forbidden(field, &what)
            })
            .collect()
    }
}

/// Whether a list names this, or all.
fn has(list: &[String], name: &str) -> bool {
    list.iter().any(|one| one == name || one == ALL)
}

/// The repository of an image, with its registry, as container runtimes complete it.
fn repository(image: &str) -> Option<String> {
    let name = ImageReference::parse(image).ok()?.name;
    Some(complete(name))
}

/// Docker's registry is left out by habit, and `library/` with it.
fn complete(name: &str) -> String {
    match registry_and_path(name) {
        (Some(_), _) => name.to_owned(),
        (None, path) if path.contains('/') => format!("docker.io/{path}"),
        (None, path) => format!("docker.io/library/{path}"),
    }
}

/// Whether a complete repository is this one, or below it where it ends with a slash.
fn is_of(repository: &str, allowed: &str) -> bool {
    // With its slash it is no image of Docker's library.
    allowed == ALL
        || if allowed.ends_with('/') {
            repository.starts_with(&complete(allowed))
        } else {
            repository == complete(allowed)
        }
}

fn is_in(port: u16, range: &str) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u32>().ok();
    let port = u32::from(port);
    number(first).is_some_and(|first| first <= port) && number(last).is_some_and(|last| port <= last)
}

/// The kinds of a volume, as a pod calls them: one, unless the API server will refuse it.
fn kinds(volume: &Volume) -> Vec<String> {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let fields = value.as_object().into_iter().flat_map(serde_json::Map::keys);
    fields.filter(|field| *field != "name").cloned().collect()
}
