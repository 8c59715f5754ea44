//! Go durations, as Contour's fields write them.

use std::time::Duration;

use crate::model::Timeout;

/// Nanoseconds in each of Go's units, longest unit name first where one starts another.
const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Longest duration taken, in nanoseconds: about 100 years, below what Envoy's protobuf durations hold.
const LONGEST: f64 = 3.2e18;

/// Reads a Go duration such as `1m30s` or `1.5h`. Negative durations and ones over 100 years are refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("\"{text}\" is not a duration like \"90s\", \"1m30s\" or \"250ms\"");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let tail = &rest[digits..];
        let (unit, scale) = UNITS
            .iter()
            .filter(|(unit, _)| tail.starts_with(unit))
            .max_by_key(|(unit, _)| unit.len())
            .ok_or_else(bad)?;
        nanos += number * scale;
        rest = &tail[unit.len()..];
    }
    if nanos > LONGEST {
        return Err(format!("\"{text}\" is longer than 100 years"));
    }
    // Bounded above by LONGEST and never negative: digits carry no sign.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(Duration::from_nanos(nanos as u64))
}

/// Reads a timeout: unset, empty and zero leave it to Envoy; `infinity` and `infinite` disable it.
pub fn parse_timeout(text: Option<&str>) -> Result<Timeout, String> {
    match text {
        None | Some("") => Ok(Timeout::Default),
        Some("infinity" | "infinite") => Ok(Timeout::Disabled),
        Some(text) => Ok(match parse_duration(text)? {
            Duration::ZERO => Timeout::Default,
            duration => Timeout::After(duration),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("90s", 90_000)]
    #[case("1m30s", 90_000)]
    #[case("1.5h", 5_400_000)]
    #[case("250ms", 250)]
    #[case("0", 0)]
    #[case("2h0m0.5s", 7_200_500)]
    fn reads_go_durations(#[case] text: &str, #[case] millis: u64) {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
    }

    #[rstest]
    #[case("")]
    #[case("10")]
    #[case("-1s")]
    #[case("s")]
    #[case("1.2.3s")]
    #[case("1x")]
    #[case("99999999999h")]
    fn refuses_what_is_none(#[case] text: &str) {
        assert!(parse_duration(text).is_err(), "{text}");
    }

    #[rstest]
    #[case(None, Timeout::Default)]
    #[case(Some(""), Timeout::Default)]
    #[case(Some("0s"), Timeout::Default)]
    #[case(Some("infinity"), Timeout::Disabled)]
    #[case(Some("infinite"), Timeout::Disabled)]
    #[case(Some("2s"), Timeout::After(Duration::from_secs(2)))]
    fn timeouts_have_three_states(#[case] text: Option<&str>, #[case] expected: Timeout) {
        assert_eq!(parse_timeout(text), Ok(expected));
    }
}
