//! The command line of `contour-operator`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use contour_graph::parse_duration;
use contour_runtime::{AdminAddresses, Listen, LogFormat};

use crate::image::{ImageReference, mirrored, registry_and_path};

/// Image of the operator, and so of the controller and of the agent beside Envoy, unless told otherwise.
const IMAGE: &str = concat!("ghcr.io/contour-operator/contour-operator:v", env!("CARGO_PKG_VERSION"));

/// Image of Envoy unless told otherwise: the version that this one of Contour was tested with.
const ENVOY_IMAGE: &str = "docker.io/envoyproxy/envoy:distroless-v1.40.0";

/// Where the manifests put the operator.
pub const NAMESPACE: &str = "contour-operator";

/// Which policy is obeyed.
pub const POLICY: &str = "default";

const EXAMPLES: &str = "\
Examples:
  contour-operator crds | kubectl apply --server-side -f -
  contour-operator run                       # in a pod, or with the current context of a kubeconfig
  contour-operator run --kubeconfig ~/.kube/config --disable-leader-election --log-level=debug
  contour-operator policy > policy.yaml      # what ContourDeployments may ask for: edit it, and kubectl apply it
  contour-operator render edge.yaml          # what would be made of it
  contour-operator diff edge.yaml            # what that would change in the cluster
  contour-operator completion bash > /etc/bash_completion.d/contour-operator

`contour-operator help run` explains every flag. Exit status: 0 success, 1 failure, 2 wrong usage; that of diff: `help diff`.";

const RENDER_EXAMPLES: &str = "\
Examples:
  contour-operator render edge.yaml
  contour-operator render edge.yaml | kubectl apply --dry-run=server -f -
  (contour-operator policy; echo ---; cat edge.yaml) | contour-operator render -
  kubectl get contourop edge -o yaml | contour-operator render -

The file may have a ContourPolicy of the name of --policy, which is obeyed, and Namespaces, whose
label operator.projectcontour.io/watched-by consents to be watched. Other kinds are ignored, with a
note on standard error. Give the flags that the operator runs with.

Secrets are not printed: the operator makes them, and their keys. Owner references are there only
if the file tells the UID of the ContourDeployment.

Exit status: 0 printed; 1 the file is wrong, or the operator would refuse it: every problem is
named, and nothing is printed; 2 wrong usage.";

const DIFF_EXAMPLES: &str = "\
Examples:
  contour-operator diff edge.yaml               # what applying this file would change
  contour-operator diff -n projectcontour edge  # what would be set right in this installation
  contour-operator diff                         # the same, for all of the cluster
  contour-operator diff -o json edge.yaml

A line for each child that is not as it should be, by kind, namespace and name:
  missing            it would be made
  changed            it would be applied: what was applied last was something else
  edited (PATH)      somebody changed what was applied, which would be set right
  not ours: WHY      an object of this name is in the way, and would be left as it is
  would be deleted   once what replaces it runs
  is being deleted, and would be made again
and for a ContourDeployment, of which nothing would be changed:
  refused: FIELD: WHY

Give the flags that the operator runs with. Of the operator's Secrets only the metadata is read.
The rights to get and list ContourDeployments, ContourPolicies, Namespaces, pods, ReplicaSets and
all kinds that an installation is made of are needed, and no others.

Exit status: 0 nothing would change; 1 something would, or is refused; 2 it cannot be told.";

/// Operator of Contour and Envoy: makes each ContourDeployment a whole installation, and keeps it so
#[derive(Debug, Parser)]
#[command(name = "contour-operator", after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator: watch ContourDeployments, make what they ask for
    Run(Box<RunArgs>),
    /// Print the custom resource definitions as YAML: contour-operator crds | kubectl apply --server-side -f -
    Crds,
    /// Print the built-in policy as a ContourPolicy, to be edited: contour-operator policy > policy.yaml
    Policy,
    /// Print what the operator would make of the ContourDeployments of a file, without a cluster
    Render(Box<RenderArgs>),
    /// Print what the operator would change in the cluster; nothing is written
    Diff(Box<DiffArgs>),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion {
        /// The shell to complete for
        shell: Shell,
    },
}

/// How to run.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Where the API server is.
    #[command(flatten)]
    pub kubernetes: KubernetesFlags,
    /// What children are made of.
    #[command(flatten)]
    pub images: ImageFlags,
    /// Who of several operators works.
    #[command(flatten)]
    pub leader_election: LeaderElectionFlags,
    /// Our own endpoints.
    #[command(flatten)]
    pub admin: AdminFlags,
    /// How log lines are written to standard error: text for people, json for machines
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Logs",
        env = "CONTOUR_OPERATOR_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
    /// What is logged; RUST_LOG, if set, decides in its place
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "LEVEL",
        help_heading = "Logs",
        env = "CONTOUR_OPERATOR_LOG_LEVEL"
    )]
    pub log_level: LogLevel,
}

/// Where the API server is, and what to look at.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesFlags {
    /// Where the API server is.
    #[command(flatten)]
    pub connection: ConnectionFlags,
    /// Only look at ContourDeployments in these namespaces, separated by commas; all by default
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',', env = "CONTOUR_OPERATOR_WATCH_NAMESPACES")]
    pub watch_namespaces: Vec<String>,
    /// Name of the ContourPolicy that says what ContourDeployments may ask for
    ///
    /// While there is none of this name, the built-in policy holds: `contour-operator policy` prints it.
    #[arg(long, value_name = "NAME", default_value = POLICY, env = "CONTOUR_OPERATOR_POLICY")]
    pub policy: String,
    /// Namespace of this pod, whose ContourDeployments the built-in policy trusts
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE, env = "POD_NAMESPACE")]
    pub namespace: String,
}

/// Where the API server is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct ConnectionFlags {
    /// Use the service account of this pod
    ///
    /// Without this and --kubeconfig: $KUBECONFIG, else ~/.kube/config, else the service account.
    #[arg(long, conflicts_with = "kubeconfig")]
    pub incluster: bool,
    /// Use the current context of this file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// What the operator that is asked about obeys.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyFlags {
    /// Name of the ContourPolicy that the operator obeys; without one of this name, the built-in policy holds
    #[arg(long, value_name = "NAME", default_value = POLICY, env = "CONTOUR_OPERATOR_POLICY")]
    pub policy: String,
    /// Namespace of the operator, whose ContourDeployments the built-in policy trusts
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE)]
    pub operator_namespace: String,
}

/// What to render.
#[derive(Clone, Debug, Args)]
#[command(after_help = RENDER_EXAMPLES)]
pub struct RenderArgs {
    /// File with ContourDeployments, as YAML or JSON; -: standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Namespace of ContourDeployments that name none
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// What children are made of.
    #[command(flatten)]
    pub images: ImageFlags,
    /// What is refused.
    #[command(flatten)]
    pub policy: PolicyFlags,
}

/// What to compare.
#[derive(Clone, Debug, Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub struct DiffArgs {
    /// File with ContourDeployments, as YAML or JSON (-: standard input); with -n, the name of one that is in the cluster
    ///
    /// Without it: all of the namespace, or of the cluster.
    #[arg(value_name = "FILE|NAME")]
    pub target: Option<String>,
    /// Compare what is in this namespace of the cluster, not a file
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// How differences are printed
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: DiffOutput,
    /// Where the API server is.
    #[command(flatten)]
    pub connection: ConnectionFlags,
    /// What children are made of.
    #[command(flatten)]
    pub images: ImageFlags,
    /// What is refused.
    #[command(flatten)]
    pub policy: PolicyFlags,
}

/// `--output` of `diff`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiffOutput {
    /// A line for each child that differs.
    #[default]
    Text,
    /// An object, with all of it.
    Json,
}

/// What children are made of, unless a ContourDeployment names another image.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Images")]
pub struct ImageFlags {
    /// Image of Contour; by default that of this version
    #[arg(long, value_name = "IMAGE", env = "CONTOUR_OPERATOR_CONTOUR_IMAGE")]
    pub contour_image: Option<String>,
    /// Image of Envoy; by default the version that this one of Contour was tested with
    #[arg(long, value_name = "IMAGE", env = "CONTOUR_OPERATOR_ENVOY_IMAGE")]
    pub envoy_image: Option<String>,
    /// Take default images from a mirror: PREFIX in place of their registry, as in mirror.corp/proxy/envoyproxy/envoy:...
    ///
    /// Images that are named, by a flag here or in a ContourDeployment, are taken as they are. Another prefix is another image: it
    /// replaces the pods of Envoy.
    #[arg(long, value_name = "PREFIX", value_parser = registry_prefix, env = "CONTOUR_OPERATOR_REGISTRY_PREFIX")]
    pub registry_prefix: Option<String>,
    /// Image of the agent beside Envoy; that of Contour by default
    ///
    /// It is for pods that are made for the first time: another one here changes no Envoy that runs.
    #[arg(long, value_name = "IMAGE", env = "CONTOUR_OPERATOR_AGENT_IMAGE")]
    pub agent_image: Option<String>,
}

impl ImageFlags {
    /// The images of Contour, of Envoy and of the agent.
    pub fn chosen(self) -> [String; 3] {
        let prefix = self.registry_prefix.as_deref();
        let default = |image: &str| prefix.map_or_else(|| image.to_owned(), |prefix| mirrored(image, prefix));
        let contour = self.contour_image.unwrap_or_else(|| default(IMAGE));
        let envoy = self.envoy_image.unwrap_or_else(|| default(ENVOY_IMAGE));
        let agent = self.agent_image.unwrap_or_else(|| contour.clone());
        [contour, envoy, agent]
    }
}

/// A registry, with or without a path, to put before images.
fn registry_prefix(text: &str) -> Result<String, String> {
    let prefix = text.strip_suffix('/').unwrap_or(text);
    let is_plain = ImageReference::parse(&format!("{prefix}/a"))
        .is_ok_and(|reference| reference.tag.is_none() && registry_and_path(reference.name).0.is_some());
    if is_plain {
        Ok(prefix.to_owned())
    } else {
        Err("it is not a registry, with or without a path, such as mirror.corp:5000/proxy".to_owned())
    }
}

/// Who of several operators works.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Leader election")]
pub struct LeaderElectionFlags {
    /// Work without asking for a lease; for a single operator only
    #[arg(long)]
    pub disable_leader_election: bool,
    /// Name of the Lease
    #[arg(long, value_name = "NAME", default_value = "contour-operator")]
    pub leader_election_resource_name: String,
    /// Namespace of the Lease: that of this pod
    #[arg(long, value_name = "NAMESPACE", default_value = NAMESPACE, env = "POD_NAMESPACE")]
    pub leader_election_resource_namespace: String,
    /// How long a lease holds after its last renewal
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub leader_election_lease_duration: Duration,
    /// How long the leader tries to renew before it steps down
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub leader_election_renew_deadline: Duration,
    /// Time between tries to become or stay leader
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub leader_election_retry_period: Duration,
}

/// Our own endpoints.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Endpoints")]
pub struct AdminFlags {
    /// Address of /metrics; `[::]` takes IPv4 as well, also where there is no IPv6
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "[::]:8080",
        env = "CONTOUR_OPERATOR_METRICS_ADDRESS"
    )]
    pub metrics_address: Address,
    /// Address of /healthz and /readyz; may be that of the metrics
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "[::]:8080",
        env = "CONTOUR_OPERATOR_HEALTH_ADDRESS"
    )]
    pub health_address: Address,
}

impl AdminFlags {
    /// Where the endpoints are served.
    pub fn addresses(&self) -> AdminAddresses {
        AdminAddresses {
            metrics: self.metrics_address.0.clone(),
            health: self.health_address.0.clone(),
            debug: None,
        }
    }
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What a person should know.
    #[default]
    Info,
    /// Every look at a ContourDeployment.
    Debug,
    /// That, and what the Kubernetes client does.
    Trace,
}

/// `HOST:PORT`, IPv6 in brackets; an empty host: all addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub Listen);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not HOST:PORT, such as 0.0.0.0:8080 or [::]:8080");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(wrong());
        }
        let host = match bare.unwrap_or(host) {
            "" => "::",
            host => host,
        };
        Ok(Self(Listen::new(host, port.parse().map_err(|_| wrong())?)))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn run(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
        let cli = Cli::try_parse_from(["contour-operator", "run"].iter().chain(arguments))?;
        match cli.command {
            Command::Run(run) => Ok(*run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound_and_everything_has_a_default() {
        Cli::command().debug_assert();
        let run = run(&[]).unwrap();
        assert_eq!(run.images.clone().chosen(), [IMAGE, ENVOY_IMAGE, IMAGE]);
        assert_eq!(run.admin.addresses().metrics, Listen::new("::", 8080));
        assert!(run.kubernetes.watch_namespaces.is_empty() && !run.leader_election.disable_leader_election);
    }

    #[test]
    fn a_mirror_is_for_images_that_are_not_named() {
        let chosen = |flags: &[&str]| run(flags).unwrap().images.chosen();
        let [contour, envoy, agent] = chosen(&["--registry-prefix=mirror.corp/proxy/"]);
        assert_eq!(envoy, "mirror.corp/proxy/envoyproxy/envoy:distroless-v1.40.0");
        assert!(contour.starts_with("mirror.corp/proxy/contour-operator/contour-operator:v"), "{contour}");
        assert_eq!(agent, contour);
        let named = chosen(&["--registry-prefix=mirror.corp", "--envoy-image=a.corp/envoy:v1"]);
        assert_eq!(named[1], "a.corp/envoy:v1");
    }

    #[test]
    fn values_are_read_and_wrong_ones_refused() {
        let args =
            run(&["--watch-namespaces=a,b", "--metrics-address=[::]:9", "--health-address=:10"]).unwrap();
        assert_eq!(args.kubernetes.watch_namespaces, ["a", "b"]);
        assert_eq!(args.admin.addresses().metrics, Listen::new("::", 9));
        assert_eq!(args.admin.addresses().health, Listen::new("::", 10));
        for wrong in [
            &["--metrics-address=8080"][..],
            &["--metrics-address=::1:8080"],
            &["--metrics-address=h:99999"],
            &["--incluster", "--kubeconfig=f"],
            &["--leader-election-retry-period=soon"],
            &["--registry-prefix=Mirror"],
            &["--registry-prefix=mirror.corp/a:v1"],
            &["--registry-prefix=team"],
            &["--unknown"],
        ] {
            assert_eq!(run(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
