//! Which build of the program this is.

use std::fmt;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::process::ProcessMetrics;

/// Version and source of this build. Empty where unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    /// Branch: `CONTOUR_BUILD_BRANCH` at build time, else git's in release builds.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub branch: &'static str,
    /// Commit: `CONTOUR_BUILD_SHA` at build time, else git's in release builds.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sha: &'static str,
    /// Version: `CONTOUR_BUILD_VERSION` at build time, else the workspace's.
    pub version: &'static str,
}

impl BuildInfo {
    /// The build that runs.
    pub const fn current() -> Self {
        Self {
            branch: first([option_env!("CONTOUR_BUILD_BRANCH"), option_env!("CONTOUR_GIT_BRANCH")], ""),
            sha: first([option_env!("CONTOUR_BUILD_SHA"), option_env!("CONTOUR_GIT_SHA")], ""),
            version: first(
                [option_env!("CONTOUR_BUILD_VERSION"), None],
                concat!("v", env!("CARGO_PKG_VERSION")),
            ),
        }
    }
}

/// The first value that is set and not empty.
const fn first(values: [Option<&'static str>; 2], otherwise: &'static str) -> &'static str {
    match values {
        [Some(value), _] | [_, Some(value)] if !value.is_empty() => value,
        _ => otherwise,
    }
}

/// The lines that `contour version` prints: `key: value`, without what is unknown.
impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [("branch", self.branch), ("sha", self.sha), ("version", self.version)];
        for (key, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
            writeln!(f, "{key}: {value}")?;
        }
        Ok(())
    }
}

/// Registers `contour_build_info` (always 1; labels branch, revision, version) and the `process_*` metrics, which are
/// read from `/proc` at each scrape.
pub fn register_process_metrics(registry: &mut Registry, build: &BuildInfo) {
    let info = Family::<[(&'static str, &'static str); 3], Gauge>::default();
    info.get_or_create(&[("branch", build.branch), ("revision", build.sha), ("version", build.version)])
        .set(1);
    registry.register("contour_build_info", "Build that runs: its branch, revision and version", info);
    registry.register_collector(Box::new(ProcessMetrics));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_set_value_counts() {
        assert_eq!(first([Some("a"), Some("b")], "c"), "a");
        assert_eq!(first([Some(""), Some("b")], "c"), "b");
        assert_eq!(first([None, Some("b")], "c"), "b");
        assert_eq!(first([None, Some("")], "c"), "c");
    }

    #[test]
    fn unknown_parts_are_left_out() {
        let build = BuildInfo { branch: "", sha: "abc", version: "v1.2.3" };
        assert_eq!(build.to_string(), "sha: abc\nversion: v1.2.3\n");
        assert_eq!(serde_json::to_string(&build).unwrap(), r#"{"sha":"abc","version":"v1.2.3"}"#);
    }
}
