//! What policy says of patches: whether there may be any, and what may come of them.

use k8s_openapi::api::core::v1::{PodTemplateSpec, Volume};
use serde_json::Value;

use super::{Request, kinds};
use crate::adoption::Adopted;
use crate::build::{Inputs, contour_template, envoy_template};
use crate::defaults::Defaults;
use crate::names::Names;
use crate::patch::{Patched, containers};
use crate::problem::Problem;
use crate::validate::{BOOTSTRAP_PATCH, CONTOUR_PATCH, ENVOY_PATCH, SERVICE_PATCH};

/// Fields of a pod that open the node, each with the value that does not.
const NODE: [(&str, Value); 2] = [("hostPID", Value::Bool(false)), ("hostIPC", Value::Bool(false))];

/// Fields of a security context, of a pod or of a container, that a patch has no say in without the right to it.
const CONFINED: [&str; 4] = ["seccompProfile", "appArmorProfile", "seLinuxOptions", "windowsOptions"];

/// What a container may add to its capabilities, as in the restricted standard of Kubernetes.
const CAPABILITY: &str = "NET_BIND_SERVICE";

impl Request<'_> {
    /// What may not be patched.
    pub(super) fn patches(&self, defaults: &Defaults) -> Vec<Problem> {
        let spec = &self.deployment.spec;
        let given = [
            (CONTOUR_PATCH, spec.contour.pod_template_patch.is_empty()),
            (ENVOY_PATCH, spec.envoy.pod_template_patch.is_empty()),
            (BOOTSTRAP_PATCH, spec.envoy.bootstrap_patch.is_empty()),
            (SERVICE_PATCH, spec.publishing.service_patch.is_empty()),
        ];
        let given: Vec<&str> =
            given.into_iter().filter_map(|(field, none)| (!none).then_some(field)).collect();
        if !given.is_empty() && !self.allowed(|rule| rule.patches) {
            return given.into_iter().map(|field| self.forbidden(field, "it is a patch")).collect();
        }
        let Ok(names) = Names::of(self.deployment) else { return Vec::new() };
        let inputs = Inputs {
            deployment: self.deployment,
            names: &names,
            defaults,
            kept: None,
            addresses: &[],
            adopted: &Adopted::NOTHING,
        };
        let mut problems = Vec::new();
        for (field, template) in
            [(CONTOUR_PATCH, contour_template(&inputs, "")), (ENVOY_PATCH, envoy_template(&inputs, ""))]
        {
            if given.contains(&field) {
                problems.extend(self.pods(field, &template, defaults));
            }
        }
        problems
    }

    fn pods(&self, field: &str, template: &Patched<PodTemplateSpec>, defaults: &Defaults) -> Vec<Problem> {
        let Ok(patched) = &template.result else { return Vec::new() };
        let json = |template: &PodTemplateSpec| serde_json::to_value(template).unwrap_or_default();
        let (plain, patched) = (json(&template.plain), json(patched));
        let pods = Pods { request: self, field, plain: &plain, patched: &patched };
        let mut problems = pods.images(defaults);
        problems.extend(pods.ports());
        problems.extend(pods.volumes());
        if !self.allowed(|rule| rule.privileged) {
            problems.extend(pods.rights());
        }
        problems
    }
}

/// A pod template before and after a patch.
struct Pods<'a> {
    request: &'a Request<'a>,
    field: &'a str,
    plain: &'a Value,
    patched: &'a Value,
}

impl Pods<'_> {
    /// The containers that were there before, or are now, each with its path.
    fn containers(&self) -> impl Iterator<Item = (String, &Value, Option<&Value>)> {
        containers(self.patched).map(|(list, one)| {
            let name = one["name"].as_str().unwrap_or_default();
            let before = containers(self.plain).find(|(of, old)| *of == list && old["name"] == one["name"]);
            (format!("{}.spec.{list}[name={name}]", self.field), one, before.map(|(_, before)| before))
        })
    }

    fn images(&self, defaults: &Defaults) -> Vec<Problem> {
        let more = self
            .containers()
            .filter(|(_, one, before)| before.is_none_or(|before| before["image"] != one["image"]));
        more.filter_map(|(path, one, _)| {
            self.request.image(&format!("{path}.image"), one["image"].as_str()?, defaults)
        })
        .collect()
    }

    /// On the network of its node every port of a pod is one of the node.
    fn ports(&self) -> Vec<Problem> {
        let on_host = self.patched["spec"]["hostNetwork"] == true;
        let mut problems = Vec::new();
        for (path, one, before) in self.containers() {
            let old =
                before.and_then(|before| before["ports"].as_array()).map(Vec::as_slice).unwrap_or_default();
            let more = one["ports"].as_array().into_iter().flatten().filter(|port| !old.contains(port));
            for port in more {
                let number = if on_host { &port["containerPort"] } else { &port["hostPort"] };
                let Some(number) = number.as_u64().filter(|number| *number != 0) else { continue };
                if !u16::try_from(number).is_ok_and(|number| self.request.allows_port(number)) {
                    let path = format!("{path}.ports[containerPort={}]", port["containerPort"]);
                    problems
                        .push(self.request.forbidden(path, &format!("it is to use port {number} of nodes")));
                }
            }
        }
        problems
    }

    fn volumes(&self) -> Vec<Problem> {
        let all = |template: &Value| template["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let old = all(self.plain);
        let mut problems = Vec::new();
        for value in all(self.patched).into_iter().filter(|volume| !old.contains(volume)) {
            let Ok(volume) = serde_json::from_value::<Volume>(value) else { continue };
            for kind in kinds(&volume).into_iter().filter(|kind| !self.request.allows_volume(kind)) {
                let path = format!("{}.spec.volumes[name={}].{kind}", self.field, volume.name);
                problems.push(self.request.forbidden(path, &format!("it is a volume of kind {kind}")));
            }
        }
        problems
    }

    /// What goes beyond the rights that the operator's own pods have, or, for containers that are new, beyond the restricted standard of
    /// Kubernetes.
    fn rights(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let (old, new) = (&self.plain["spec"], &self.patched["spec"]);
        let path = format!("{}.spec", self.field);
        for (name, harmless) in NODE {
            if old[name] != new[name] && new[name] != harmless && !new[name].is_null() {
                found.push((format!("{path}.{name}"), "it is to share a namespace of its node".to_owned()));
            }
        }
        let (old, new) = (&old["securityContext"], &new["securityContext"]);
        let path = format!("{path}.securityContext");
        for name in CONFINED.iter().chain(&["sysctls"]) {
            if old[name] != new[name] {
                found.push((format!("{path}.{name}"), "it changes what confines the pod".to_owned()));
            }
        }
        if old["runAsUser"] != 0 && is_root(&Value::Null, new) {
            found.push((format!("{path}.runAsUser"), "the pod could run as root".to_owned()));
        }
        for (path, one, before) in self.containers() {
            if before.is_none() && self.patched["spec"]["automountServiceAccountToken"] == true {
                found.push((path.clone(), "it would act as Contour, and read what that may read".to_owned()));
            }
            let none = Value::Null;
            let old = before.map_or(&none, |before| &before["securityContext"]);
            let path = format!("{path}.securityContext");
            found.extend(requests_of_the_node(before, one).map(|name| {
                (
                    format!("{}.{name}", path.trim_end_matches(".securityContext")),
                    "it would send requests from the node".to_owned(),
                )
            }));
            let told = container_rights(before.is_some(), old, &one["securityContext"], new);
            found.extend(told.into_iter().map(|(name, what)| (format!("{path}.{name}"), what.to_owned())));
        }
        found.into_iter().map(|(path, what)| self.request.forbidden(path, &what)).collect()
    }
}

/// The probes and hooks by which the kubelet would send requests to other hosts.
fn requests_of_the_node<'a>(
    before: Option<&'a Value>,
    after: &'a Value,
) -> impl Iterator<Item = &'static str> + 'a {
    let to_others = move |name: &&'static str| {
        ["httpGet", "tcpSocket"].into_iter().any(|how| {
            let host = |one: &'a Value| one.pointer(&format!("/{}/{how}/host", name.replace('.', "/")));
            host(after).is_some_and(|host| host != "") && before.and_then(host) != host(after)
        })
    };
    ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"]
        .into_iter()
        .filter(to_others)
}

/// What of a container goes too far, given its security context before and after, and that of its pod.
fn container_rights(known: bool, old: &Value, new: &Value, pod: &Value) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    if new["privileged"] == true {
        found.push(("privileged", "it is a privileged container"));
    }
    if new["allowPrivilegeEscalation"] != false {
        found.push(("allowPrivilegeEscalation", "it could get more rights than it has (set it to false)"));
    }
    if !new["procMount"].is_null() && new["procMount"] != "Default" {
        found.push(("procMount", "it would see what is masked"));
    }
    let list = |field: &str| new["capabilities"][field].as_array().cloned().unwrap_or_default();
    if !list("drop").iter().any(|one| one == "ALL") {
        found.push(("capabilities.drop", "it keeps capabilities (drop ALL)"));
    }
    let had = old["capabilities"]["add"].as_array().cloned().unwrap_or_default();
    if list("add").iter().any(|one| one != CAPABILITY && !had.contains(one)) {
        found.push(("capabilities.add", "it has more capabilities"));
    }
    for name in CONFINED {
        if old[name] != new[name] {
            found.push((name, "it changes what confines the container"));
        }
    }
    if !known && is_root(new, pod) {
        found.push(("runAsUser", "it could run as root (set another user)"));
    }
    if known && old["runAsNonRoot"] != new["runAsNonRoot"] && new["runAsNonRoot"] != true {
        found.push(("runAsNonRoot", "it could run as root"));
    }
    found
}

/// Whether a container could be root, by its own security context and that of its pod.
fn is_root(container: &Value, pod: &Value) -> bool {
    let of =
        |field: &str| if container[field].is_null() { pod[field].clone() } else { container[field].clone() };
    let (user, not_root) = (of("runAsUser"), of("runAsNonRoot"));
    if user.is_null() { not_root != true } else { user == 0 }
}
