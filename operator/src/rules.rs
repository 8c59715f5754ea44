//! Whether the operator would accept a `ContourDeployment`: what it says of one that is only looked at, not applied. Pure.

use std::collections::BTreeSet;

use contour_crds::{ContourDeployment, ContourPolicy, PolicyRule};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;

use crate::clash::clashes;
use crate::defaults::Defaults;
use crate::names::{Names, WATCHED_BY};
use crate::policy::{Policy, built_in};
use crate::problem::Problem;
use crate::validate::validate;

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
        if let Err(problem) = Names::of(deployment) {
            return vec![problem];
        }
        let mut problems = validate(deployment, &self.defaults);
        if problems.is_empty() {
            problems = self.forbids(deployment);
        }
        if problems.is_empty() {
            // What may not be made is in nobody's way.
            let others = others.into_iter().filter(|other| self.forbids(other).is_empty());
            problems = clashes(deployment, others);
        }
        problems
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
