//! Logs: text or JSON on standard error, by level or by `RUST_LOG`.

use std::env;
use std::str::FromStr as _;

use clap::ValueEnum;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, ParseError};
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{fmt, prelude::*};

/// Libraries that say little of use to our users at `debug`.
const QUIET: [&str; 7] = ["h2", "hyper", "hyper_util", "rustls", "tonic", "tower", "kube_client"];

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per event, for people.
    #[default]
    Text,
    /// One JSON object per event: `timestamp`, `level`, `message`, `target` and the event's own fields.
    Json,
}

/// Where the Kubernetes client logs answers as warnings, word by word.
const WHOLE_ANSWERS: &str = "kube_client::client=error";

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// `--log-format`
    pub format: LogFormat,
    /// `--debug`: our own events at `debug` instead of `info`.
    pub debug: bool,
    /// `--kubernetes-debug`: 0 quiet, 1 to 5 the Kubernetes client at `debug`, 6 and more at `trace`.
    pub kubernetes_debug: u8,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is not a filter.
    #[error("RUST_LOG={value:?} is not a log filter; unset it or use e.g. RUST_LOG=info,contour_xds=debug")]
    Filter {
        /// The value found.
        value: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Someone set up logging before.
    #[error("logging was already set up; do it once, at the start of main")]
    Repeated(#[from] TryInitError),
}

impl Telemetry {
    /// Starts logging to standard error. `RUST_LOG`, if set, replaces the levels. Fails if it is no filter, or the
    /// second time.
    pub fn init(self) -> Result<(), TelemetryError> {
        let filter = self.filter(env::var("RUST_LOG").ok())?;
        let registry = tracing_subscriber::registry().with(filter);
        let layer = fmt::layer().with_writer(std::io::stderr);
        match self.format {
            LogFormat::Text => registry.with(layer.with_ansi(false)).try_init()?,
            LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
        }
        Ok(())
    }

    /// What is logged: by `RUST_LOG`, else by our own levels; but never what the Kubernetes client does not understand. It logs such answers whole,
    /// lists of Secrets included; the error that it returns is told by whoever asked.
    fn filter(self, set: Option<String>) -> Result<EnvFilter, TelemetryError> {
        let filter = match set.filter(|value| !value.is_empty()) {
            Some(value) => EnvFilter::builder()
                .parse(&value)
                .map_err(|source| TelemetryError::Filter { value, source })?,
            None => EnvFilter::new(self.directives()),
        };
        Ok(filter.add_directive(Directive::from_str(WHOLE_ANSWERS).expect("a directive")))
    }

    /// Levels without `RUST_LOG`, in its syntax.
    fn directives(self) -> String {
        let mut directives = vec![String::from(if self.debug { "debug" } else { "info" })];
        directives.extend(QUIET.iter().map(|library| format!("{library}=info")));
        match self.kubernetes_debug {
            // It repeats every failed watch; contour-k8s tells each cause once.
            0 => directives.push(String::from("kube_runtime=error")),
            1..=5 => directives.push(String::from("kube=debug,kube_client=debug,kube_runtime=debug")),
            _ => directives.push(String::from("kube=trace,kube_client=trace,kube_runtime=trace")),
        }
        directives.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_makes_a_valid_filter() {
        for debug in [false, true] {
            for kubernetes_debug in [0, 1, 6, 255] {
                let telemetry = Telemetry { format: LogFormat::Text, debug, kubernetes_debug };
                EnvFilter::builder().parse(telemetry.directives()).unwrap();
            }
        }
        assert!(Telemetry { debug: true, ..Telemetry::default() }.directives().starts_with("debug,"));
        for set in [None, Some("trace"), Some("kube_client=trace"), Some("kube_client::client=trace")] {
            let filter = Telemetry::default().filter(set.map(str::to_owned)).unwrap().to_string();
            let own = filter.split(',').filter(|part| part.starts_with("kube_client::client"));
            assert_eq!(own.collect::<Vec<_>>(), [WHOLE_ANSWERS], "{filter}");
        }
        let loud = Telemetry { kubernetes_debug: 8, ..Telemetry::default() }.directives();
        assert!(loud.ends_with("kube_client=trace,kube_runtime=trace"), "{loud}");
    }
}
