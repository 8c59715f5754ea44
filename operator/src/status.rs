//! The status of a `ContourDeployment`, from what was found out. Pure.

use contour_crds::contour_deployment::{
    CertificatesStatus, ChildReference, ComponentStatus, ContourDeploymentStatus, EnvoyTemplateStatus,
    IpFamily,
};
use contour_crds::status::{ConditionStatus, DetailedCondition, SubCondition};
use jiff::Timestamp;

use crate::image::ImageReference;
use crate::problem::Problem;
use crate::reconcile::addresses::MOST;
use crate::reconcile::rollout::{Because, Rollout, Workload};

/// What the conditions are called.
pub mod condition {
    /// Traffic is served: Contour and Envoy have as many pods as a rolling update would leave them.
    pub const AVAILABLE: &str = "Available";
    /// Something is on its way, and nothing speaks against it.
    pub const PROGRESSING: &str = "Progressing";
    /// Something needs help.
    pub const DEGRADED: &str = "Degraded";
    /// Contour and Envoy have certificates that the other side trusts.
    pub const CERTIFICATES_READY: &str = "CertificatesReady";
    /// All is well and at rest: a good time to change versions.
    pub const UPGRADEABLE: &str = "Upgradeable";
}

/// The reason of conditions while an object is being deleted.
pub const DELETING: &str = "Deleting";

/// The reason of conditions while an object is paused.
pub const PAUSED: &str = "Paused";

/// The pods of a component, and what they should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The workload as it is.
    pub workload: Workload,
    /// The image that should run.
    pub desired_image: String,
    /// The images that ready pods run, in order.
    pub images: Vec<String>,
}

/// What was found out about certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// What to tell of them.
    pub status: CertificatesStatus,
    /// Why they cannot be relied on; `None`: they can.
    pub not_ready: Option<Because>,
    /// What a rotation waits for, if one is on its way.
    pub rotating: Option<Because>,
}

/// What was found out about a `ContourDeployment`. What is `None` is not known this time, and stays as it was told before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong with it: nothing was changed.
    pub problems: Vec<Problem>,
    /// What runs was looked for: a component that is `None` is not there.
    pub looked: bool,
    /// The fields by which its children are made, as JSON.
    pub accepted: Option<String>,
    /// It is being deleted.
    pub deleting: bool,
    /// Nothing is written but certificates, as its owner asked.
    pub paused: bool,
    /// What failed.
    pub error: Option<Because>,
    /// A rollout that fails.
    pub failing: Option<Because>,
    /// Who keeps changing a child. Nothing else is held up by it.
    pub contested: Option<Because>,
    /// What is waited for.
    pub waiting: Option<Because>,
    /// Its class.
    pub ingress_class: Option<String>,
    /// The controller.
    pub contour: Option<Component>,
    /// The proxies.
    pub envoy: Option<Component>,
    /// What Envoy's pods are made with from now on.
    pub envoy_template: Option<EnvoyTemplateStatus>,
    /// The certificates.
    pub certificates: Option<Certificates>,
    /// The IP families that Envoy serves.
    pub ip_families: Option<Vec<IpFamily>>,
    /// Where the proxies are reached.
    pub addresses: Option<Vec<String>>,
    /// What should be known of how it serves, though it serves.
    pub warnings: Vec<SubCondition>,
    /// The children without an owner reference.
    pub inventory: Option<Vec<ChildReference>>,
}

impl Report {
    /// Why it is degraded, if it is.
    pub fn degraded(&self) -> Option<Because> {
        if let Some(first) = self.problems.first() {
            let told: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
            return Some(Because::new(first.reason, told.join("; ")));
        }
        self.error.clone().or_else(|| self.failing.clone()).or_else(|| self.contested.clone())
    }

    /// One word for what became of this look.
    pub fn outcome(&self) -> &'static str {
        if !self.problems.is_empty() {
            "refused"
        } else if self.error.is_some() {
            "error"
        } else if self.failing.is_some() {
            "failing"
        } else if self.contested.is_some() {
            "contested"
        } else if self.deleting {
            "deleting"
        } else if self.paused {
            "paused"
        } else if self.waiting.is_some() {
            "waiting"
        } else {
            "complete"
        }
    }
}

/// The status that tells a report, given the one told before. The same report over its own status is the same status.
pub fn status(
    before: &ContourDeploymentStatus,
    generation: i64,
    report: &Report,
    now: Timestamp,
) -> ContourDeploymentStatus {
    let mut status = before.clone();
    status.observed_generation = generation;
    if let Some(class) = &report.ingress_class {
        status.ingress_class = Some(class.clone());
    }
    if let Some(contour) = &report.contour {
        status.contour = Some(component(contour));
    }
    if let Some(envoy) = &report.envoy {
        status.envoy = Some(component(envoy));
    }
    if report.looked {
        let absent = [(&report.contour, &mut status.contour), (&report.envoy, &mut status.envoy)];
        absent.into_iter().filter(|(found, _)| found.is_none()).for_each(|(_, told)| nothing_runs(told));
    }
    if let Some(accepted) = &report.accepted {
        status.accepted = Some(accepted.clone());
    }
    if let Some(template) = &report.envoy_template {
        status.envoy_template = Some(template.clone());
    }
    if let Some(certificates) = &report.certificates {
        status.certificates = Some(certificates.status.clone());
    }
    if let Some(families) = &report.ip_families {
        status.ip_families.clone_from(families);
    }
    if let Some(addresses) = &report.addresses {
        status.addresses.clone_from(addresses);
    }
    if let Some(inventory) = &report.inventory {
        status.inventory.clone_from(inventory);
    }
    let certificates_before = find(before, condition::CERTIFICATES_READY);
    let mut conditions = vec![available(report), progressing(report), degraded(report)];
    conditions.push(certificates(report, certificates_before));
    conditions.push(upgradeable(report));
    status.reason = Some(reason(&conditions));
    status.conditions = conditions.into_iter().map(|made| made.since(before, generation, now)).collect();
    status
}

/// The condition of this type.
pub fn find<'a>(status: &'a ContourDeploymentStatus, kind: &str) -> Option<&'a DetailedCondition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// A condition without its times.
struct Made {
    kind: &'static str,
    status: ConditionStatus,
    because: Because,
    errors: Vec<SubCondition>,
    warnings: Vec<SubCondition>,
}

impl Made {
    fn new(kind: &'static str, holds: bool, because: Because) -> Self {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        Self { kind, status, because, errors: Vec::new(), warnings: Vec::new() }
    }

    fn since(self, before: &ContourDeploymentStatus, generation: i64, now: Timestamp) -> DetailedCondition {
        let same = find(before, self.kind).filter(|condition| condition.status == self.status);
        let last_transition_time =
            same.map_or_else(|| rfc3339(now), |condition| condition.last_transition_time.clone());
        DetailedCondition {
            type_: self.kind.to_owned(),
            status: self.status,
            observed_generation: generation,
            last_transition_time,
            reason: word(&self.because.reason),
            message: cut(self.because.message, 32_768),
            errors: self.errors,
            warnings: self.warnings,
        }
    }
}

fn available(report: &Report) -> Made {
    let lacking = lacking(report);
    let holds = lacking.is_none();
    let well = || Because::new("Serving", "Contour and Envoy are available");
    let mut made = Made::new(condition::AVAILABLE, holds, lacking.unwrap_or_else(well));
    made.warnings.clone_from(&report.warnings);
    made
}

/// That not all addresses are published. Not how many there are, which changes with every node.
pub(crate) fn addresses_cut() -> SubCondition {
    let message = format!(
        "Envoy serves on more nodes than are published: statuses name {MOST} addresses at most; run Envoy on fewer nodes, or name a load \
         balancer or a DNS name in spec.publishing.addresses"
    );
    let (type_, reason) = ("Addresses".to_owned(), "TooManyAddresses".to_owned());
    SubCondition { type_, status: ConditionStatus::True, reason, message }
}

/// That Envoy's pods are those of somebody else's template.
pub(crate) fn adopted_pods_run() -> SubCondition {
    let message = "Envoy's pods run on as they were when they were adopted, whatever spec.envoy says; take spec.adopt back, and they are replaced node by node";
    let (type_, reason) = ("Envoy".to_owned(), "AdoptedPodsRun".to_owned());
    SubCondition { type_, status: ConditionStatus::True, reason, message: message.to_owned() }
}

/// The class is to be the only default of the cluster, and is not.
pub(crate) fn other_default_classes(message: String) -> SubCondition {
    let (type_, reason) = ("IngressClass".to_owned(), "DefaultClass".to_owned());
    SubCondition { type_, status: ConditionStatus::True, reason, message }
}

/// Why traffic is not served as it should be.
fn lacking(report: &Report) -> Option<Because> {
    if report.deleting {
        return Some(Because::new(DELETING, "the object is being deleted"));
    }
    let components =
        [("Contour", "ContourUnavailable", &report.contour), ("Envoy", "EnvoyUnavailable", &report.envoy)];
    components.into_iter().find_map(|(name, reason, component)| {
        let Some(Component { workload, .. }) = component else {
            return Some(Because::new(reason, format!("{name} is not there")));
        };
        if workload.is_available() {
            return None;
        }
        let message = match &workload.rollout {
            Rollout::Complete if workload.desired == 0 => {
                format!("{name} is to run on no node: check its node selector and tolerations")
            }
            _ => {
                let lost = match workload.lost {
                    0 => String::new(),
                    lost => format!(", {lost} of the others are on nodes that are not ready"),
                };
                format!("{} of {} pods of {name} are available{lost}", workload.available, workload.desired)
            }
        };
        Some(Because::new(reason, message))
    })
}

/// Why nothing is on its way, if its owner wants it so.
fn paused(report: &Report) -> Option<Because> {
    let told =
        "spec.paused is true: nothing is changed but certificates, and what is edited or deleted stays so";
    report.paused.then(|| Because::new(PAUSED, told))
}

fn progressing(report: &Report) -> Made {
    if let Some(because) = paused(report) {
        return Made::new(condition::PROGRESSING, false, because);
    }
    let (holds, because) = match (&report.waiting, report.degraded()) {
        (_, Some(_)) if !report.problems.is_empty() => {
            (false, Because::new("Refused", "nothing is changed while the object is as it is: see Degraded"))
        }
        (Some(waiting), Some(_)) if report.error.is_none() && report.failing.is_none() => {
            (true, waiting.clone())
        }
        (_, Some(_)) => {
            (false, Because::new("Stopped", "it goes on when what is told in Degraded has passed"))
        }
        (Some(waiting), None) => (true, waiting.clone()),
        (None, None) => (false, Because::new("Complete", "all is as it should be")),
    };
    Made::new(condition::PROGRESSING, holds, because)
}

fn degraded(report: &Report) -> Made {
    let because = report.degraded();
    let holds = because.is_some();
    let well = || Because::new("AsExpected", "nothing needs help");
    let mut made = Made::new(condition::DEGRADED, holds, because.unwrap_or_else(well));
    made.errors = report.problems.iter().map(error).collect();
    made
}

fn error(problem: &Problem) -> SubCondition {
    SubCondition {
        type_: problem.reason.to_owned(),
        status: ConditionStatus::True,
        reason: problem.reason.to_owned(),
        message: cut(problem.to_string(), 32_768),
    }
}

fn certificates(report: &Report, before: Option<&DetailedCondition>) -> Made {
    const KIND: &str = condition::CERTIFICATES_READY;
    match &report.certificates {
        Some(Certificates { not_ready: Some(because), .. }) => Made::new(KIND, false, because.clone()),
        Some(Certificates { rotating: Some(because), .. }) => Made::new(KIND, true, because.clone()),
        Some(_) => {
            Made::new(KIND, true, Because::new("Ready", "both sides have certificates that the other trusts"))
        }
        // Not looked at this time.
        None => match before {
            Some(before) => Made {
                kind: KIND,
                status: before.status,
                because: Because::new(before.reason.clone(), before.message.clone()),
                errors: Vec::new(),
                warnings: Vec::new(),
            },
            None => Made::new(KIND, false, Because::new("NotCreated", "there are no certificates yet")),
        },
    }
}

fn upgradeable(report: &Report) -> Made {
    let rotating = || report.certificates.as_ref().and_then(|certificates| certificates.rotating.clone());
    let reason =
        paused(report).or_else(|| report.degraded()).or_else(|| report.waiting.clone()).or_else(rotating);
    let reason = reason.or_else(|| lacking(report));
    let holds = reason.is_none();
    let well = || Because::new("AtRest", "versions can be changed");
    Made::new(condition::UPGRADEABLE, holds, reason.unwrap_or_else(well))
}

/// The word that tells most: see `status.reason`.
fn reason(conditions: &[Made]) -> String {
    let holding =
        |kind: &str| conditions.iter().find(|made| made.kind == kind && made.status == ConditionStatus::True);
    let paused = || conditions.iter().find(|made| made.because.reason == PAUSED);
    let found = holding(condition::DEGRADED).or_else(|| holding(condition::PROGRESSING)).or_else(paused);
    let found = found.or_else(|| conditions.iter().find(|made| made.kind == condition::AVAILABLE));
    found.map(|made| word(&made.because.reason)).unwrap_or_default()
}

/// What was told before of a component, of which nothing is there now.
fn nothing_runs(told: &mut Option<ComponentStatus>) {
    if let Some(told) = told {
        let (desired, desired_version) = (told.desired, told.desired_version.take());
        let pods = Some(format!("0/{desired}"));
        *told = ComponentStatus { desired, pods, desired_version, ..ComponentStatus::default() };
    }
}

fn component(component: &Component) -> ComponentStatus {
    let Workload { desired, updated, available, .. } = component.workload;
    // Pods may run what was allowed by another version of us.
    let version = |image| ImageReference::parse(image).map_or("unknown", |image| image.version());
    let mut versions: Vec<&str> = component.images.iter().map(|image| version(image.as_str())).collect();
    versions.dedup();
    ComponentStatus {
        desired,
        ready: available,
        updated,
        pods: Some(format!("{available}/{desired}")),
        desired_version: Some(version(&component.desired_image).to_owned()),
        version: Some(versions.join(",")).filter(|text| !text.is_empty()),
        images: component.images.clone(),
    }
}

/// A time as conditions tell it, in whole seconds.
pub fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// A reason that the schema takes, of a word that others chose.
fn word(reason: &str) -> String {
    let fit: String = reason.chars().filter(char::is_ascii_alphanumeric).take(256).collect();
    let fit = fit.trim_start_matches(|c: char| c.is_ascii_digit());
    if fit.is_empty() { "Unknown".to_owned() } else { fit.to_owned() }
}

/// At most this many bytes, without breaking a character.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let mut end = limit - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn running(available: i32, desired: i32) -> Component {
        let rollout = if available == desired {
            Rollout::Complete
        } else {
            Rollout::Waiting(Because::new("RollingOut", "m"), None)
        };
        let (updated, there) = (desired, desired);
        let workload =
            Workload { desired, updated, available, spare: 0, lost: 0, there, unplaced: false, rollout };
        Component {
            workload,
            desired_image: "r:5000/i:v2".to_owned(),
            images: vec!["r:5000/i:v1".to_owned()],
        }
    }

    fn well() -> Report {
        Report {
            contour: Some(running(2, 2)),
            envoy: Some(running(3, 3)),
            certificates: Some(Certificates::default()),
            ..Report::default()
        }
    }

    /// `Available Progressing Degraded CertificatesReady Upgradeable reason`, true ones as `+`.
    fn shown(report: &Report) -> String {
        let status = status(&ContourDeploymentStatus::default(), 1, report, at(0));
        let signs: String = status
            .conditions
            .iter()
            .map(|c| if c.status == ConditionStatus::True { '+' } else { '-' })
            .collect();
        format!("{signs} {}", status.reason.unwrap())
    }

    #[test]
    fn each_finding_shows_in_its_conditions() {
        let because = || Some(Because::new("Why", "m"));
        let problem = Problem::invalid("spec.x", "is wrong");
        let certificates =
            |not_ready, rotating| Some(Certificates { not_ready, rotating, ..Certificates::default() });
        for (report, expected) in [
            (well(), "+--++ Serving"),
            (Report::default(), "----- ContourUnavailable"),
            (Report { waiting: because(), ..well() }, "++-+- Why"),
            (Report { failing: because(), waiting: because(), ..well() }, "+-++- Why"),
            (Report { contested: because(), ..well() }, "+-++- Why"),
            (Report { contested: because(), waiting: because(), ..well() }, "++++- Why"),
            (Report { error: because(), ..well() }, "+-++- Why"),
            (Report { problems: vec![problem.clone()], ..well() }, "+-++- Invalid"),
            (Report { problems: vec![problem], ..Report::default() }, "--+-- Invalid"),
            (Report { envoy: Some(running(2, 3)), waiting: because(), ..well() }, "-+-+- Why"),
            (Report { envoy: Some(running(0, 0)), ..well() }, "---+- EnvoyUnavailable"),
            (Report { certificates: certificates(because(), None), ..well() }, "+---+ Serving"),
            (Report { certificates: certificates(None, because()), ..well() }, "+--+- Serving"),
        ] {
            assert_eq!(shown(&report), expected, "{report:?}");
        }
    }

    #[test]
    fn that_addresses_are_left_out_is_a_warning() {
        let cut = Report { warnings: vec![addresses_cut()], ..well() };
        assert_eq!(shown(&cut), shown(&well()));
        let first = status(&ContourDeploymentStatus::default(), 1, &cut, at(10));
        let warnings = |told: &ContourDeploymentStatus| {
            let all = told.conditions.iter().flat_map(|condition| &condition.warnings);
            all.map(|warning| warning.reason.clone()).collect::<Vec<_>>()
        };
        assert_eq!(warnings(&first), ["TooManyAddresses"]);
        assert_eq!(status(&first, 1, &cut, at(20)), first);
        assert_eq!(warnings(&status(&first, 1, &well(), at(20))).len(), 0);
    }

    #[test]
    fn the_same_report_later_is_the_same_status() {
        let first = status(&ContourDeploymentStatus::default(), 1, &well(), at(10));
        assert_eq!(status(&first, 1, &well(), at(99)), first);
        let contour = first.contour.as_ref().unwrap();
        assert_eq!(contour.pods.as_deref(), Some("2/2"));
        assert_eq!(
            (contour.version.as_deref(), contour.desired_version.as_deref()),
            (Some("v1"), Some("v2"))
        );

        let refused = Report { problems: vec![Problem::clash("spec.y", "taken")], ..Report::default() };
        let second = status(&first, 2, &refused, at(20));
        assert_eq!(second.contour, first.contour, "what was not looked at stays");
        let degraded = find(&second, condition::DEGRADED).unwrap();
        assert_eq!(degraded.last_transition_time, "1970-01-01T00:00:20Z");
        assert_eq!((degraded.reason.as_str(), degraded.message.as_str()), ("Clash", "spec.y: taken"));
        assert_eq!(degraded.errors.len(), 1);
        let certificates = find(&second, condition::CERTIFICATES_READY).unwrap();
        assert_eq!(
            (certificates.last_transition_time.as_str(), certificates.observed_generation),
            ("1970-01-01T00:00:10Z", 2)
        );
    }

    #[test]
    fn what_is_not_there_is_told_so_unless_it_was_not_looked_for() {
        let first = status(&ContourDeploymentStatus::default(), 1, &well(), at(10));
        let gone = |looked| Report { envoy: None, looked, ..well() };
        let pods = |report: &Report| status(&first, 1, report, at(20)).envoy.and_then(|envoy| envoy.pods);
        assert_eq!(pods(&gone(true)).as_deref(), Some("0/3"));
        assert_eq!(pods(&gone(false)).as_deref(), Some("3/3"));
        let envoy = status(&first, 1, &gone(true), at(20)).envoy.unwrap();
        assert_eq!((envoy.ready, envoy.updated, envoy.images.len(), envoy.version), (0, 0, 0, None));
        assert_eq!(envoy.desired_version.as_deref(), Some("v2"));
    }

    #[test]
    fn words_of_others_become_reasons() {
        assert_eq!(word("ImagePullBackOff"), "ImagePullBackOff");
        assert_eq!(word("3 bad: things"), "badthings");
        assert_eq!(word("…"), "Unknown");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
        assert_eq!(cut("aéé".to_owned(), 4), "a…");
    }
}
