//! This process: how many files it may open, and the `process_*` metrics, read from `/proc` at each scrape.

use std::fmt::Error;
use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tracing::warn;

/// Clock ticks per second in `/proc`: fixed at 100 in Linux' user-space ABI on every architecture that Envoy runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Lets this process open as many files as it may: each connected Envoy is one, and the usual soft limit of 1,024 is for programs
/// that use `select`. Programs that are started from it have the same limit.
pub fn allow_many_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// Collects memory, processor time, start time and open files of this process. What `/proc` does not tell is left
/// out of the scrape.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| ProcessStat::parse(&text));
        if let Some(stat) = &stat {
            let metric = ConstCounter::new(stat.cpu_seconds);
            let help = "User and system processor time spent, in seconds";
            metric.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| number_after(&text, "btime"));
        let started = stat.zip(booted).map(|(stat, booted)| booted + stat.seconds_after_boot);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kibibytes = |key| number_after(&status, key).map(|kibibytes| kibibytes * 1024.0);
        let gauges = [
            ("process_start_time_seconds", "Start of the process, in seconds since 1970", started),
            ("process_resident_memory_bytes", "Resident memory, in bytes", kibibytes("VmRSS:")),
            ("process_virtual_memory_bytes", "Virtual memory, in bytes", kibibytes("VmSize:")),
            ("process_open_fds", "Open file descriptors", open_files()),
            ("process_max_fds", "Most file descriptors that may be open", open_files_limit()),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

/// The parts of `/proc/self/stat` that we report.
#[derive(Debug, PartialEq)]
struct ProcessStat {
    /// utime + stime, seconds.
    cpu_seconds: f64,
    /// starttime, seconds since the machine booted.
    seconds_after_boot: f64,
}

impl ProcessStat {
    /// The command (second field) may hold spaces and parentheses, so fields are counted after the last `)`:
    /// the first one there is field 3 of `proc_pid_stat(5)`.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Self { cpu_seconds: seconds(14)? + seconds(15)?, seconds_after_boot: seconds(22)? })
    }
}

/// The number that follows `key` at the start of a line.
fn number_after(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Open file descriptors, without the one that lists them.
fn open_files() -> Option<f64> {
    let entries = u32::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    Some(f64::from(entries.saturating_sub(1)))
}

/// The soft limit; `None` if unlimited.
fn open_files_limit() -> Option<f64> {
    number_after(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_command_may_hold_anything() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194304 10 0 0 0 250 50 0 0 20 0 4 0 12345 1 2 3";
        assert_eq!(
            ProcessStat::parse(text),
            Some(ProcessStat { cpu_seconds: 3.0, seconds_after_boot: 123.45 })
        );
        assert_eq!(ProcessStat::parse("7 (short) S 1"), None);
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[test]
    fn as_many_files_as_may_be() {
        allow_many_files();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }

    #[test]
    fn this_process_is_described() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics));
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        let value =
            |name: &str| number_after(&out, &format!("{name} ")).unwrap_or_else(|| panic!("{name} in {out}"));
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
