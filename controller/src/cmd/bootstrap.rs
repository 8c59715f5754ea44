//! `contour bootstrap`: writes what Envoy starts with. Runs before Envoy, usually as an init container.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use contour_envoy::bootstrap::{Bootstrap, BootstrapFiles, DnsLookupFamily, TlsFiles, XdsMode};

const EXAMPLES: &str = "\
Examples:
  # As the stock manifests start it: TLS files may be rotated
  contour bootstrap /config/envoy.json --xds-address=contour --xds-port=8001 --resources-dir=/config/resources \\
      --envoy-cafile=/certs/ca.crt --envoy-cert-file=/certs/tls.crt --envoy-key-file=/certs/tls.key

  # To look at it
  contour bootstrap -";

/// Flags of `contour bootstrap` (reference 5.2).
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// File to write, `-` for standard output
    ///
    /// It is written in place, so that whoever has it open sees it.
    #[arg(value_name = "PATH")]
    pub path: String,
    /// Path of the Unix domain socket of Envoy's administration
    #[arg(long, value_name = "PATH", default_value = "/admin/admin.sock")]
    pub admin_address: String,
    /// Deprecated: part of a name in Envoy's statistics, nothing else
    #[arg(long, value_name = "PORT", default_value_t = 9001, hide = true)]
    pub admin_port: u16,
    /// How Envoy resolves the controller's name
    #[arg(long, value_enum, value_name = "FAMILY", default_value = "auto")]
    pub dns_lookup_family: Family,
    /// PEM file of the CA that signs the controller's certificate
    ///
    /// The three TLS files go together; without them, Envoy connects without TLS.
    #[arg(long, value_name = "FILE", env = "ENVOY_CAFILE", default_value = "", hide_default_value = true)]
    pub envoy_cafile: String,
    /// PEM file of Envoy's certificate
    #[arg(long, value_name = "FILE", env = "ENVOY_CERT_FILE", default_value = "", hide_default_value = true)]
    pub envoy_cert_file: String,
    /// PEM file of Envoy's private key
    #[arg(long, value_name = "FILE", env = "ENVOY_KEY_FILE", default_value = "", hide_default_value = true)]
    pub envoy_key_file: String,
    /// Namespace that Envoy runs in: part of names in its statistics
    #[arg(long, value_name = "NAME", env = "CONTOUR_NAMESPACE", default_value = "projectcontour")]
    pub namespace: String,
    /// Most connections of clients at a time; 0 for any number
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64)
    )]
    pub overload_downstream_max_conn: u64,
    /// Heap in bytes that Envoy sheds load to stay under; 0 for no limit
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub overload_max_heap: u64,
    /// Directory for the files that let Envoy's TLS files be rotated
    ///
    /// Without it, Envoy reads its TLS files once, when it starts.
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    pub resources_dir: String,
    /// Address or name of the controller
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub xds_address: String,
    /// Port of the controller
    #[arg(long, value_name = "PORT", default_value_t = 8001, value_parser = clap::value_parser!(u16).range(1..))]
    pub xds_port: u16,
    /// Version of the resources to ask for
    #[arg(long, value_name = "VERSION", default_value = "v3", value_parser = ["v3"])]
    pub xds_resource_version: String,
    /// What the controller sends after a change: what changed, or the state of the world
    #[arg(long, value_enum, value_name = "MODE", default_value = "delta")]
    pub xds_mode: Mode,
}

/// `--dns-lookup-family`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// IPv6 first, IPv4 if there is none.
    Auto,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// All addresses of both.
    All,
}

/// `--xds-mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Only what changed.
    Delta,
    /// All resources of a type whenever one changes.
    Sotw,
}

impl Args {
    /// The settings that the flags mean. Fails if only some TLS files are given.
    fn settings(&self) -> anyhow::Result<Bootstrap> {
        let files = [&self.envoy_cafile, &self.envoy_cert_file, &self.envoy_key_file];
        let given = files.iter().filter(|file| !file.is_empty()).count();
        ensure!(
            given == 0 || given == 3,
            "you must supply all TLS parameters - \"--envoy-cafile\", \"--envoy-cert-file\", \"--envoy-key-file\", \
             or none of them"
        );
        let [ca, certificate, key] = files.map(Clone::clone);
        Ok(Bootstrap {
            admin_socket: self.admin_address.clone(),
            admin_port: self.admin_port,
            dns_lookup_family: match self.dns_lookup_family {
                Family::Auto => DnsLookupFamily::Auto,
                Family::V4 => DnsLookupFamily::V4,
                Family::V6 => DnsLookupFamily::V6,
                Family::All => DnsLookupFamily::All,
            },
            namespace: self.namespace.clone(),
            max_heap_bytes: self.overload_max_heap,
            max_downstream_connections: self.overload_downstream_max_conn,
            resources_dir: Some(self.resources_dir.clone()).filter(|dir| !dir.is_empty()),
            tls: (given == 3).then_some(TlsFiles { ca, certificate, key }),
            xds_address: self.xds_address.clone(),
            xds_port: self.xds_port,
            xds_mode: match self.xds_mode {
                Mode::Delta => XdsMode::Delta,
                Mode::Sotw => XdsMode::Sotw,
            },
        })
    }
}

/// Writes the bootstrap, after the files it refers to. Nothing is written if a setting is wrong or a TLS file is not
/// there: an init container that fails is seen, an Envoy that waits for ever is not.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let settings = args.settings()?;
    let BootstrapFiles { bootstrap, resources } = settings.render()?;
    if let Some(TlsFiles { ca, certificate, key }) = &settings.tls {
        for (flag, path) in
            [("--envoy-cafile", ca), ("--envoy-cert-file", certificate), ("--envoy-key-file", key)]
        {
            check_file(path).with_context(|| format!("{flag} {path:?} cannot be used"))?;
        }
    }
    if let Some(directory) = &settings.resources_dir {
        make_shared(&Path::new(directory).join("sds"))?;
    }
    for (path, content) in resources {
        write(&path, &serde_json::to_string_pretty(&content)?)?;
    }
    write(&args.path, &serde_json::to_string_pretty(&bootstrap)?)
}

fn check_file(path: &str) -> anyhow::Result<()> {
    let metadata = fs::metadata(path)?;
    ensure!(metadata.is_file(), "it is not a file");
    ensure!(metadata.len() > 0, "it is empty; is the Secret mounted, and complete?");
    Ok(())
}

/// Makes a directory that the Envoy container may use although it runs as another user than we do. It holds no
/// secrets, only the paths of some.
fn make_shared(directory: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot make the directory {} for --resources-dir", directory.display());
    if !directory.is_dir() {
        fs::create_dir_all(directory).with_context(cannot)?;
        fs::set_permissions(directory, Permissions::from_mode(0o777)).with_context(cannot)?;
    }
    Ok(())
}

/// Writes a file in place: who holds it open sees the new content.
fn write(path: &str, content: &str) -> anyhow::Result<()> {
    let write = |out: &mut dyn Write| writeln!(out, "{content}").and_then(|()| out.flush());
    let outcome = match path {
        "-" => write(&mut io::stdout().lock()),
        path => File::create(path).and_then(|mut file| write(&mut file)),
    };
    outcome.with_context(|| format!("cannot write {path:?}"))
}
