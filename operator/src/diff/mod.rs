//! `contour-operator diff`: what the operator would change in a cluster. It reads, and writes nothing.

mod cluster;
mod compare;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use contour_crds::ContourDeployment;
use contour_k8s::{HungRequests, connect};
use contour_runtime::BuildInfo;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::adoption::Adopted;
use crate::build::{Inputs, Stages, build};
use crate::child::ChildKind;
use crate::cli::{DiffArgs, DiffOutput};
use crate::documents::{self, Documents};
use crate::families;
use crate::live::Live;
use crate::names::Names;
use crate::ownership::Owner;
use crate::reconcile::{published_nodes, still_mounted, unrecorded_template};
use crate::render::all;
use crate::rules::Rules;
use crate::run::{client_source, defaults};
use cluster::Cluster;
pub use compare::{Change, Comparison, Difference, Wanted, compare};

/// Nothing would change.
const SAME: u8 = 0;
/// Something would change, or is refused.
const DIFFERENT: u8 = 1;
/// It cannot be told.
const FAILED: u8 = 2;

/// Compares, and prints what differs. The exit code is that of `kubectl diff`.
pub async fn run(args: DiffArgs) -> ExitCode {
    let output = args.output;
    let code = match compared(args).await.and_then(|all| print(&all, output).map(|()| all)) {
        Ok(all) if all.iter().any(Comparison::differs) => DIFFERENT,
        Ok(_) => SAME,
        Err(error) => {
            eprintln!("error: {error:#}");
            FAILED
        }
    };
    code.into()
}

fn print(all: &[Comparison], output: DiffOutput) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for note in all.iter().flat_map(|comparison| &comparison.notes) {
        eprintln!("note: {note}");
    }
    match output {
        DiffOutput::Text => all.iter().try_for_each(|comparison| write!(out, "{comparison}"))?,
        DiffOutput::Json => {
            let report = serde_json::json!({ "contourDeployments": all });
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        }
    }
    Ok(())
}

/// Compares what is asked about, in order.
async fn compared(args: DiffArgs) -> anyhow::Result<Vec<Comparison>> {
    let hung = HungRequests::default();
    let client = connect(&client_source(&args.connection), &hung).await?;
    let documents = match (&args.namespace, &args.target) {
        (None, Some(file)) => {
            let (text, file) = documents::read(file.as_ref()).map_err(|error| {
                anyhow::anyhow!("{error}; a ContourDeployment of the cluster is named with -n NAMESPACE")
            })?;
            Some(Documents::parse(&text, &file, client.default_namespace()).map_err(|errors| all(&errors))?)
        }
        _ => None,
    };
    let cluster = Cluster::new(client);
    let defaults = defaults(args.images, &BuildInfo::current(), &args.policy.operator_namespace);
    let mut rules = Rules::new(defaults, &args.policy.policy, &args.policy.operator_namespace);
    if let Some(policy) = cluster.policy(&args.policy.policy).await? {
        rules.obey(&policy);
    }
    for namespace in cluster.consenting().await? {
        rules.consent(&namespace);
    }
    let mut deployments = cluster.deployments().await?;
    let mut notes = Vec::new();
    let asked = match &documents {
        Some(documents) => {
            notes.extend(documents.notes.clone());
            notes.extend(rules.obey_all(&documents.policies));
            documents.namespaces.iter().for_each(|namespace| rules.consent(namespace));
            over(&mut deployments, documents)
        }
        None => named(&deployments, args.namespace.as_deref(), args.target.as_deref())?,
    };
    let mut all = Vec::new();
    for deployment in &asked {
        let mut comparison = look(&cluster, &rules, deployment, &deployments).await?;
        comparison.notes.splice(0..0, std::mem::take(&mut notes));
        all.push(comparison);
    }
    Ok(all)
}

/// Puts the `ContourDeployment`s of a file over those of the cluster, whose identity and status stay. Returns those of the file.
fn over(deployments: &mut Vec<ContourDeployment>, documents: &Documents) -> Vec<ContourDeployment> {
    let id = |one: &ContourDeployment| (one.namespace(), one.name_any());
    let mut asked = Vec::new();
    for written in &documents.deployments {
        let mut deployment = written.deployment.clone();
        let live = deployments.iter().position(|live| id(live) == id(&deployment));
        let live = live.map(|index| deployments.remove(index));
        let (metadata, before) = (&mut deployment.metadata, live.as_ref().map(|live| &live.metadata));
        metadata.uid = before.and_then(|before| before.uid.clone());
        metadata.creation_timestamp = before.and_then(|before| before.creation_timestamp.clone());
        metadata.deletion_timestamp = before.and_then(|before| before.deletion_timestamp.clone());
        deployment.status = live.and_then(|live| live.status);
        deployments.push(deployment.clone());
        asked.push(deployment);
    }
    asked
}

/// The one of this name, or all of a namespace or of the cluster.
fn named(
    deployments: &[ContourDeployment],
    namespace: Option<&str>,
    name: Option<&str>,
) -> anyhow::Result<Vec<ContourDeployment>> {
    let fits = |one: &&ContourDeployment| {
        namespace.is_none_or(|namespace| one.namespace().as_deref() == Some(namespace))
            && name.is_none_or(|name| one.name_any() == name)
    };
    let asked: Vec<_> = deployments.iter().filter(fits).cloned().collect();
    if let (Some(name), true) = (name, asked.is_empty()) {
        anyhow::bail!("there is no ContourDeployment {}/{name}", namespace.unwrap_or_default());
    }
    Ok(asked)
}

/// Compares the children of one `ContourDeployment`.
async fn look(
    cluster: &Cluster,
    rules: &Rules,
    deployment: &ContourDeployment,
    others: &[ContourDeployment],
) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison::of(deployment);
    if deployment.spec.paused {
        let note = "is paused: until it is not, nothing of this is done";
        comparison.notes.push(format!("{} {note}", documents::told(deployment)));
    }
    let ending = deployment.metadata.deletion_timestamp.is_some();
    if !ending {
        comparison.refused = rules.problems(deployment, others);
        if comparison.refused.is_empty() {
            comparison.refused = cluster.own_secrets(deployment, Timestamp::now()).await?;
        }
    }
    if !comparison.refused.is_empty() {
        return Ok(comparison);
    }
    let Ok(names) = Names::of(deployment) else { return Ok(comparison) };
    let status = deployment.status.clone().unwrap_or_default();
    let owner = Owner::of(deployment, &names, &status);
    let mut found = cluster.labelled(&names).await?;
    let live = found.live(&owner);
    let stages = if ending { Stages::default() } else { stages(rules, deployment, &names, &owner, &live) };
    let own = deployment.spec.certificates.secret_refs.is_some();
    let ours = [&names.ca_secret, &names.contour_secret, &names.envoy_secret];
    let secrets = ours.map(|name| names.child(ChildKind::Secret, name));
    let secrets = if own || ending { Vec::new() } else { secrets.to_vec() };
    let kept = if own { still_mounted(&names, &live) } else { Vec::new() };
    let wanted = Wanted { stages: &stages, secrets: &secrets, kept: &kept };
    for child in wanted.all().into_iter().chain(owner.recorded().cloned()) {
        cluster.find(&child, &mut found).await.with_context(|| format!("{child} cannot be read"))?;
    }
    comparison.add(compare(&owner, &wanted, &found.objects));
    let wanted: Vec<String> = wanted.all().iter().map(ToString::to_string).collect();
    let strangers = live.strangers.iter().filter(|stranger| !wanted.contains(&stranger.to_string()));
    comparison.notes.extend(strangers.map(|stranger| {
        format!(
            "{stranger} has the labels of a child of {}, and {}",
            documents::told(deployment),
            stranger.why
        )
    }));
    Ok(comparison)
}

/// What the operator would apply.
fn stages(
    rules: &Rules,
    deployment: &ContourDeployment,
    names: &Names,
    owner: &Owner,
    live: &Live,
) -> Stages {
    let told = deployment.status.as_ref().map(|status| status.addresses.clone()).unwrap_or_default();
    let recorded = deployment.status.as_ref().and_then(|status| status.envoy_template.clone());
    let before = deployment.status.clone().unwrap_or_default();
    let resolved = families::resolved(deployment, names, live, &before);
    let at_nodes = families::at_nodes(&resolved, names, live);
    build(&Inputs {
        deployment: &resolved,
        names,
        defaults: &rules.defaults,
        kept: recorded.or_else(|| unrecorded_template(live, owner)).as_ref(),
        addresses: &published_nodes(live, &at_nodes, &told, Timestamp::now()),
        adopted: &Adopted::of(live, owner, deployment.spec.adopt),
    })
}
