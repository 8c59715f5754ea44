//! `contour-operator render`: the children of the `ContourDeployment`s of a file, as YAML, without a cluster.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::anyhow;
use contour_crds::ContourDeployment;

use crate::adoption::Adopted;
use crate::build::{Inputs, Stages, build};
use crate::cli::RenderArgs;
use crate::documents::{self, Documents, told};
use crate::families;
use crate::live::Live;
use crate::names::{FIELD_MANAGER, Names};
use crate::rules::Rules;
use crate::run::defaults;
use crate::settings::host_network;
use contour_runtime::BuildInfo;

/// Prints the children of a file's `ContourDeployment`s.
///
/// # Errors
///
/// Everything that is wrong with the file or that the operator would refuse, one a line.
pub fn run(args: RenderArgs) -> anyhow::Result<()> {
    let (text, file) = documents::read(&args.file).map_err(|error| anyhow!(error))?;
    let documents = Documents::parse(&text, &file, &args.namespace).map_err(|errors| all(&errors))?;
    let defaults = defaults(args.images, &BuildInfo::current(), &args.policy.operator_namespace);
    let mut rules = Rules::new(defaults, &args.policy.policy, &args.policy.operator_namespace);
    let Rendered { yaml, notes } = render(&documents, &mut rules).map_err(|errors| all(&errors))?;
    for note in notes {
        eprintln!("note: {note}");
    }
    Ok(io::stdout().write_all(yaml.as_bytes())?)
}

/// One error of all, one a line.
pub(crate) fn all(errors: &[String]) -> anyhow::Error {
    anyhow!(errors.join("\nerror: "))
}

/// What was rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The children, in the order in which the operator applies them.
    pub yaml: String,
    /// What was left out.
    pub notes: Vec<String>,
}

/// The children of all `ContourDeployment`s, whose file may have a policy and the consent of namespaces as well.
///
/// # Errors
///
/// Every problem for which the operator would refuse one of them: nothing is rendered then.
pub fn render(documents: &Documents, rules: &mut Rules) -> Result<Rendered, Vec<String>> {
    let mut notes = documents.notes.clone();
    notes.extend(rules.obey_all(&documents.policies));
    documents.namespaces.iter().for_each(|namespace| rules.consent(namespace));
    let deployments: Vec<&ContourDeployment> =
        documents.deployments.iter().map(|written| &written.deployment).collect();
    let (mut yaml, mut errors) = (String::new(), Vec::new());
    for written in &documents.deployments {
        let problems = rules.problems(&written.deployment, deployments.iter().copied());
        if problems.is_empty() {
            match one(&written.deployment, rules) {
                Ok(text) => yaml.push_str(&text),
                Err(error) => errors.push(format!("{}: {error}", written.place)),
            }
        }
        errors.extend(problems.iter().map(|problem| format!("{}: {problem}", written.place)));
    }
    if errors.is_empty() { Ok(Rendered { yaml, notes }) } else { Err(errors) }
}

/// The children of one that nothing is wrong with.
fn one(deployment: &ContourDeployment, rules: &Rules) -> Result<String, String> {
    let names = Names::of(deployment).map_err(|problem| problem.to_string())?;
    let status = deployment.status.as_ref();
    let before = status.cloned().unwrap_or_default();
    let resolved = families::resolved(deployment, &names, &Live::default(), &before);
    let stages = build(&Inputs {
        deployment: &resolved,
        names: &names,
        defaults: &rules.defaults,
        kept: status.and_then(|status| status.envoy_template.as_ref()),
        addresses: &[],
        adopted: &Adopted::NOTHING,
    });
    let mut yaml = String::from("---\n");
    for line in heading(deployment, &names, &stages) {
        // Writing to a text does not fail.
        let _ = writeln!(yaml, "# {line}");
    }
    for (index, child) in stages.all().enumerate() {
        let text = serde_saphyr::to_string(&child.object).map_err(|error| error.to_string())?;
        let _ = write!(yaml, "{}{text}", if index == 0 { "" } else { "---\n" });
        if !yaml.ends_with('\n') {
            yaml.push('\n');
        }
    }
    Ok(yaml)
}

/// What a reader should know of the objects that follow.
fn heading(deployment: &ContourDeployment, names: &Names, stages: &Stages) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} objects, in the order of the operator.",
        told(deployment),
        stages.all().count()
    )];
    if deployment.spec.certificates.secret_refs.is_none() {
        let Names { ca_secret, contour_secret, envoy_secret, .. } = names;
        lines.push(format!(
            "Not here: the Secrets {ca_secret}, {contour_secret} and {envoy_secret}; {FIELD_MANAGER} makes them and their keys."
        ));
    }
    if deployment.metadata.uid.is_none() {
        lines.push(
            "Not here: whose they are, which is told by the UID that the ContourDeployment gets in the cluster.".to_owned(),
        );
    }
    if host_network(deployment) {
        lines.push("Not here: the addresses of nodes with a ready Envoy, on Envoy's Service.".to_owned());
    }
    lines
}
