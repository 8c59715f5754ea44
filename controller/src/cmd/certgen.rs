//! `contour certgen`: makes the certificates of the connection between controller and Envoy, once.
//!
//! The CA's key is thrown away: what expires is made anew as a whole.

mod apiserver;
mod files;
mod secrets;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgAction, ValueEnum};
use contour_certs::{Authority, Certificate, IssueError, KeyAlgorithm, Leaf, LeafRequest, Party};
use contour_k8s::ClientSource;
use jiff::Timestamp;

const EXAMPLES: &str = "\
Examples:
  # As the stock Job does it
  contour certgen --kube --incluster --overwrite --secrets-format=compact --namespace=projectcontour

  # To try Envoy and controller on one machine
  contour certgen --pem certs";

/// Flags of `contour certgen` (reference 5.2).
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of Contour's command line")]
pub struct Args {
    /// Directory for the files of --pem and --yaml
    #[arg(value_name = "DIR", default_value = "certs")]
    pub outputdir: PathBuf,
    /// How long the certificates are valid, in days
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub certificate_lifetime: u32,
    /// Use the service account of the pod this runs in, for --kube
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false)]
    pub incluster: bool,
    /// Write the certificates to the cluster, as Secrets
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false)]
    pub kube: bool,
    /// Kubeconfig that names the cluster, for --kube
    ///
    /// Default: `$HOME/.kube/config`.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the Secrets, and part of the names in the certificates
    #[arg(long, value_name = "NAME", env = "CONTOUR_NAMESPACE", default_value = "projectcontour")]
    pub namespace: String,
    /// Replace files and Secrets that exist
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false)]
    pub overwrite: bool,
    /// Write the certificates as PEM files
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false)]
    pub pem: bool,
    /// Form of the Secrets
    #[arg(long, value_enum, value_name = "FORM", default_value = "legacy")]
    pub secrets_format: SecretsFormat,
    /// Text to add to the names of the Secrets
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub secrets_name_suffix: String,
    /// Write the certificates as YAML files of Secrets
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value_t = false)]
    pub yaml: bool,
}

/// `--secrets-format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SecretsFormat {
    /// Three Secrets: the CA's certificate in one of its own.
    Legacy,
    /// Two Secrets: the CA's certificate in each, as cert-manager does it.
    Compact,
}

/// All that one run makes. The leaves are of the one CA, so they are only of use together.
#[derive(Debug)]
struct Certificates {
    ca: Certificate,
    contour: Leaf,
    envoy: Leaf,
}

impl Certificates {
    fn generate(namespace: &str, days: u32, now: Timestamp) -> Result<Self, IssueError> {
        let lifetime = Duration::from_hours(24 * u64::from(days));
        let algorithm = KeyAlgorithm::default();
        let authority = Authority::create(now, lifetime, algorithm)?;
        let issue = |party| {
            let request = LeafRequest::for_party(party, namespace, "cluster.local");
            authority.issue(&request, now, lifetime, algorithm)
        };
        let (contour, envoy) = (issue(Party::Contour)?, issue(Party::Envoy)?);
        Ok(Self { ca: authority.certificate().clone(), contour, envoy })
    }
}

/// Makes the certificates and writes them wherever the flags say. What exists is left alone without `--overwrite`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if !(args.pem || args.yaml || args.kube) {
        let directory = args.outputdir.display();
        bail!("nothing to write; pass --pem or --yaml for files in {directory}, or --kube for Secrets");
    }
    let Args { outputdir, namespace, overwrite, .. } = args;
    let names = secrets::check_names(namespace, &args.secrets_name_suffix);
    names.context("the Secrets would not be accepted by Kubernetes")?;
    let certificates = Certificates::generate(namespace, args.certificate_lifetime, Timestamp::now())?;
    let secrets = secrets::secrets(&certificates, args.secrets_format, namespace, &args.secrets_name_suffix);
    let mut documents = Vec::new();
    if args.pem {
        println!("Writing certificates to PEM files in {}/", outputdir.display());
        documents.extend(files::pem(&certificates));
    }
    if args.yaml {
        println!("Writing Secrets to YAML files in {}/", outputdir.display());
        documents.extend(files::yaml(&secrets)?);
    }
    files::write(outputdir, &documents, *overwrite)?;
    if args.kube {
        println!("Writing Secrets to namespace {namespace:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(apiserver::write(&client_source(args), namespace, &secrets, *overwrite))?;
    }
    Ok(())
}

fn client_source(args: &Args) -> ClientSource {
    let home = || std::env::home_dir().unwrap_or_default().join(".kube/config");
    match &args.kubeconfig {
        _ if args.incluster => ClientSource::InCluster,
        Some(path) => ClientSource::Kubeconfig(path.clone()),
        None => ClientSource::Kubeconfig(home()),
    }
}
