//! Whether a `ContourDeployment` is accepted: by the operator, and by those who only look at one and apply nothing. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use contour_crds::{ContourDeployment, ContourPolicy, PolicyRule};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;

use crate::clash::{clashes, serving};
use crate::defaults::Defaults;
use crate::names::{Names, WATCHED_BY};
use crate::policy::{Policy, built_in};
use crate::problem::Problem;
use crate::validate::validate;

/// What is wrong with a `ContourDeployment`, alone or beside others, given what policy forbids.
pub(crate) fn judge<'a>(
    deployment: &ContourDeployment,
    others: impl IntoIterator<Item = &'a ContourDeployment>,
    defaults: &Defaults,
    forbids: impl Fn(&ContourDeployment) -> Vec<Problem>,
) -> Vec<Problem> {
    if let Err(problem) = Names::of(deployment) {
        return vec![problem];
    }
    let mut problems = validate(deployment, defaults);
    if problems.is_empty() {
        problems = forbids(deployment);
    }
    if problems.is_empty() {
        // What may not be made is in nobody's way, but for what was made before and serves.
        let allowed = |other: &'a ContourDeployment| {
            if forbids(other).is_empty() {
                Some(Cow::Borrowed(other))
            } else {
                serving(other).map(Cow::Owned)
            }
        };
        let others: Vec<_> = others.into_iter().filter_map(allowed).collect();
        problems = clashes(deployment, others.iter().map(|other| &**other));
    }
    problems
}

/// What a `ContourDeployment` is judged by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The settings of the operator.
    pub defaults: Defaults,
    /// The name of the policy that it obeys.
    policy: String,
    /// Its rules; `None`: there is no policy of that name.
    found: Option<Vec<PolicyRule>>,
    /// The rules that hold then.
    built_in: Vec<PolicyRule>,
    /// The namespaces that consent to be watched, each with that of the `ContourDeployments` which may.
    consents: BTreeSet<(String, String)>,
}

impl Rules {
    /// The rules of an operator in this namespace that obeys the policy of this name, which no policy has yet.
    pub fn new(defaults: Defaults, policy: &str, operator_namespace: &str) -> Self {
        Self {
            defaults,
            policy: policy.to_owned(),
            found: None,
            built_in: built_in(operator_namespace),
            consents: BTreeSet::new(),
        }
    }

    /// Obeys a policy, if it is the one. Returns whether it is.
    pub fn obey(&mut self, policy: &ContourPolicy) -> bool {
        let is_it = policy.name_any() == self.policy;
        if is_it {
            self.found = Some(policy.spec.rules.clone());
        }
        is_it
    }

    /// Obeys the policies of a file; what is said of those that are not obeyed.
    pub fn obey_all(&mut self, policies: &[ContourPolicy]) -> Vec<String> {
        let mut notes = Vec::new();
        for policy in policies {
            if !self.obey(policy) {
                let (name, obeyed) = (policy.name_any(), &self.policy);
                notes.push(format!("ContourPolicy {name} is ignored: --policy {obeyed} is obeyed"));
            }
        }
        notes
    }

    /// Notes whose namespace's installations a namespace consents to be watched by.
    pub fn consent(&mut self, namespace: &Namespace) {
        if let Some(by) = namespace.labels().get(WATCHED_BY) {
            self.consents.insert((namespace.name_any(), by.clone()));
        }
    }

    /// What is wrong with a `ContourDeployment`, alone or beside others, in the operator's own words. `others` may contain itself.
    pub fn problems<'a>(
        &self,
        deployment: &ContourDeployment,
        others: impl IntoIterator<Item = &'a ContourDeployment>,
    ) -> Vec<Problem> {
        judge(deployment, others, &self.defaults, |deployment| self.forbids(deployment))
    }

    fn forbids(&self, deployment: &ContourDeployment) -> Vec<Problem> {
        let policy = Policy {
            name: &self.policy,
            exists: self.found.is_some(),
            rules: self.found.as_ref().unwrap_or(&self.built_in),
        };
        let namespace = deployment.namespace().unwrap_or_default();
        let consents = |watched: &str| self.consents.contains(&(watched.to_owned(), namespace.clone()));
        policy.forbids(deployment, &self.defaults, &consents)
    }
}
