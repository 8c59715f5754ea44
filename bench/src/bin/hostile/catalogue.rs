//! The attacks: one directory each, with `attack.yaml` and the steps `10-….yaml`, `20-….yaml`, … that the attacker takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The most objects that one step makes.
const MOST_OBJECTS: usize = 10_000;

/// The most rounds of one step.
const MOST_ROUNDS: usize = 1_000;

/// The longest pause between two rounds.
const LONGEST_PAUSE: u64 = 1_000;

/// The directory of certificates and keys beside the attacks.
const CERTIFICATES: &str = "certificates";

/// One attack.
#[derive(Debug)]
pub(crate) struct Attack {
    /// The directory's name, which is also the end of the attacker's namespace.
    pub(crate) name: String,
    /// What `attack.yaml` says.
    pub(crate) about: About,
    /// The steps, in order.
    pub(crate) steps: Vec<Step>,
}

/// `attack.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// What is tried, in one line.
    pub(crate) title: String,
    /// Where the idea is from: a section of an issue, an advisory, or ourselves.
    pub(crate) source: String,
    /// Whether it is part of the short form, which a pipeline runs.
    pub(crate) short: bool,
    /// Whether the Envoys meanwhile take no large regular expression, unlike those we ship for: what they refuse is then something that only an
    /// Envoy finds wrong.
    #[serde(default)]
    pub(crate) narrow: bool,
    /// What the attacker is told and gets.
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// What has to come true once all steps are taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// Statuses of the attacker's HTTPProxies.
    #[serde(default)]
    pub(crate) statuses: Vec<StatusIs>,
    /// Answers of every Envoy.
    #[serde(default)]
    pub(crate) answers: Vec<AnswerIs>,
    /// The most responses that Envoys may refuse; 0: what Envoy would refuse is not sent.
    #[serde(default)]
    pub(crate) nacks: Option<u32>,
    /// What docs/security.md says that it can cost others.
    #[serde(default)]
    pub(crate) bounds: Bounds,
    /// Names of files in `certificates` of which no 16 bytes may be seen in a status, an Event, a log or Envoy's configuration.
    #[serde(default)]
    pub(crate) hidden: Vec<String>,
}

/// What an attack may cost others, beyond what is nobody's pain.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bounds {
    /// Milliseconds that one change may take, whatever the middle of all.
    pub(crate) longest: f64,
    /// How many times as long as in the quiet run the middle of all changes of a kind may take.
    pub(crate) times: f64,
    /// MiB that the controller may take for what the attacker's budget pays.
    pub(crate) controller: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { longest: 1_000.0, times: 2.0, controller: 0 }
    }
}

impl Bounds {
    /// What is stated beyond the usual, if anything is.
    pub(crate) fn stated(&self) -> Option<String> {
        let Self { longest, times, controller } = self;
        let more =
            if *controller == 0 { String::new() } else { format!(", {controller} MiB in the controller") };
        let text = format!("a change may take {longest} ms, the middle {times} times as long{more}");
        (*self != Self::default()).then_some(text)
    }
}

/// HTTPProxies with a status.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusIs {
    /// The name of one; else all of the namespace are meant.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// How many have it at least.
    #[serde(default = "one")]
    pub(crate) least: usize,
    /// `currentStatus`: `valid`, `invalid` or `orphaned`.
    pub(crate) is: String,
    /// A part of the status, as JSON, whatever its case.
    #[serde(default)]
    pub(crate) says: String,
}

/// An answer to a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerIs {
    /// The host that is asked for.
    pub(crate) host: String,
    /// The path that is asked for.
    #[serde(default = "root")]
    pub(crate) path: String,
    /// The statuses it may have; 0: no answer at all, for example no TLS handshake.
    pub(crate) is: Vec<u16>,
    /// Over TLS, whatever the certificate.
    #[serde(default)]
    pub(crate) tls: bool,
    /// The server name that TLS asks for, where it is not the host.
    #[serde(default)]
    pub(crate) sni: Option<String>,
    /// What its body does not have.
    #[serde(default)]
    pub(crate) without: Option<String>,
}

/// One step. Everything in it is done in the order of these fields, `rounds` times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// How often: `${round}` counts.
    #[serde(default = "one")]
    pub(crate) rounds: usize,
    /// Milliseconds between two rounds.
    #[serde(default)]
    pub(crate) pause: u64,
    /// How often every object is written: `${i}` counts.
    #[serde(default = "one")]
    pub(crate) repeat: usize,
    /// Whether kube-apiserver may refuse an object, which then is the end of it.
    #[serde(default)]
    pub(crate) may_be_refused: bool,
    /// Objects to create, or to make like this.
    #[serde(default)]
    pub(crate) apply: Vec<Value>,
    /// Objects to delete: `apiVersion`, `kind` and `metadata.name`.
    #[serde(default)]
    pub(crate) delete: Vec<Value>,
    /// What befalls the installation meanwhile.
    #[serde(default)]
    pub(crate) installation: Option<Event>,
    /// What is waited for at the end.
    #[serde(default)]
    pub(crate) wait: Wait,
}

/// What befalls an installation on any day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// The controller ends and starts again.
    ControllerRestarts,
    /// One more Envoy starts, which has to serve the victim.
    EnvoyStarts,
    /// The victim takes twenty hosts away, and brings them back.
    VictimShrinks,
}

/// What a step waits for before the next one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    /// So many changes of the victim.
    #[serde(default)]
    pub(crate) changes: usize,
    /// These statuses.
    #[serde(default)]
    pub(crate) statuses: Vec<StatusIs>,
}

impl Step {
    /// The pause between two rounds.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_millis(self.pause)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.repeat * self.apply.len() <= MOST_OBJECTS, "more than {MOST_OBJECTS} objects");
        ensure!(self.rounds <= MOST_ROUNDS, "more than {MOST_ROUNDS} rounds");
        ensure!(self.pause <= LONGEST_PAUSE, "a pause of more than {LONGEST_PAUSE} ms");
        Ok(())
    }
}

fn one() -> usize {
    1
}

fn root() -> String {
    "/".to_owned()
}

/// All attacks, and the files they share.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// In the order of their names.
    pub(crate) attacks: Vec<Attack>,
    /// Where certificates and keys are.
    pub(crate) certificates: PathBuf,
}

impl Catalogue {
    /// Reads a directory of attacks.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let certificates = directory.join(CERTIFICATES);
        let mut attacks = Vec::new();
        for path in sorted(directory)?.into_iter().filter(|path| path.is_dir() && *path != certificates) {
            attacks.push(attack(&path).with_context(|| path.display().to_string())?);
        }
        ensure!(!attacks.is_empty(), "{} has no attack", directory.display());
        Ok(Self { attacks, certificates })
    }
}

fn attack(directory: &Path) -> Result<Attack> {
    let name = directory.file_name().and_then(|name| name.to_str()).context("not a name")?;
    let (mut about, mut steps) = (None, Vec::new());
    for path in sorted(directory)? {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("attack.yaml") => about = Some(parse(&path)?),
            Some(step)
                if step.starts_with(|c: char| c.is_ascii_digit())
                    && path.extension().is_some_and(|end| end == "yaml") =>
            {
                let step: Step = parse(&path)?;
                step.check().with_context(|| path.display().to_string())?;
                steps.push(step);
            }
            _ => bail!("{} is neither attack.yaml nor a step like 10-what.yaml", path.display()),
        }
    }
    ensure!(!steps.is_empty(), "it has no step");
    Ok(Attack { name: name.to_owned(), about: about.context("it has no attack.yaml")?, steps })
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path)?;
    serde_saphyr::from_str(&text).with_context(|| path.display().to_string())
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacker::scope;

    #[test]
    fn every_attack_can_be_read_and_filled_in() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
        let catalogue = Catalogue::read(&directory).unwrap();
        assert!(catalogue.attacks.len() >= 30, "{} attacks", catalogue.attacks.len());
        for attack in &catalogue.attacks {
            let scope = scope(&catalogue.certificates, attack).with("i", "0").with("round", "0");
            for step in &attack.steps {
                for object in step.apply.iter().chain(&step.delete) {
                    let object =
                        scope.expand(object).unwrap_or_else(|error| panic!("{}: {error:#}", attack.name));
                    assert!(object["kind"].is_string(), "{}: {object}", attack.name);
                    assert!(object["metadata"]["name"].is_string(), "{}: {object}", attack.name);
                    assert!(
                        object["metadata"]["namespace"].is_null(),
                        "{}: it stays in its own",
                        attack.name
                    );
                }
            }
            for file in &attack.about.expect.hidden {
                assert!(catalogue.certificates.join(file).is_file(), "{}: {file}", attack.name);
            }
            for answer in &attack.about.expect.answers {
                scope.text(&answer.host).unwrap();
            }
        }
        assert!(catalogue.attacks.iter().any(|attack| attack.about.short), "the short form has an attack");
    }
}
