//! How many connections clients have open, by Envoy's statistics.
//!
//! Contour counts HTTP connections only and so cuts TCP sessions off (projectcontour/contour#6928). Here a connection is what a listener
//! has accepted, whatever it carries. The listeners for probes, scrapers and administration all speak HTTP, and are known by the
//! statistics prefix of their connection managers, which are Contour's, too.

/// Connection managers whose connections are no clients'.
const OWN: [&str; 5] = ["admin", "envoy-admin", "stats", "health", "stats-health"];

/// The listener of Envoy's own administration; its connections are those of manager `admin`.
const ADMIN_LISTENER: &str = "admin";

/// Path and query that ask for the gauges of [`open`]:
/// `^(listener\..+|http\.(admin|envoy-admin|stats|health|stats-health))\.downstream_cx_active$`
pub(super) const QUERY: &str = "/stats?type=Gauges&filter=%5E(listener%5C..%2B%7Chttp%5C.\
    (admin%7Cenvoy-admin%7Cstats%7Chealth%7Cstats-health))%5C.downstream_cx_active%24";

/// Open connections of clients, from the text that [`QUERY`] is answered with. Lines that are something else do not count.
pub(super) fn open(stats: &str) -> u64 {
    let (mut accepted, mut own) = (0_u64, 0_u64);
    for (name, value) in stats.lines().filter_map(gauge) {
        if let Some(listener) = name.strip_prefix("listener.") {
            if listener != ADMIN_LISTENER && !of_one_thread(listener) {
                accepted = accepted.saturating_add(value);
            }
        } else if let Some(manager) = name.strip_prefix("http.")
            && manager != ADMIN_LISTENER
            && OWN.contains(&manager)
        {
            own = own.saturating_add(value);
        }
    }
    accepted.saturating_sub(own)
}

/// Name without `.downstream_cx_active`, and value.
fn gauge(line: &str) -> Option<(&str, u64)> {
    let (name, value) = line.rsplit_once(": ")?;
    Some((name.strip_suffix(".downstream_cx_active")?, value.trim().parse().ok()?))
}

/// Whether a gauge tells a part of what the listener's own gauge tells.
fn of_one_thread(listener: &str) -> bool {
    let last = listener.rsplit_once('.').map(|(_, last)| last);
    last.is_some_and(|last| last == "main_thread" || last.starts_with("worker_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_clients_count_whatever_they_carry() {
        let stats = "\
http.admin.downstream_cx_active: 1
http.envoy-admin.downstream_cx_active: 2
http.ingress_http.downstream_cx_active: 3
http.stats.downstream_cx_active: 4
listener.0.0.0.0_8080.downstream_cx_active: 3
listener.0.0.0.0_8080.worker_0.downstream_cx_active: 1
listener.0.0.0.0_8080.worker_1.downstream_cx_active: 2
listener.[__]_8443.downstream_cx_active: 5
listener.127.0.0.1_9001.downstream_cx_active: 2
listener.0.0.0.0_8002.downstream_cx_active: 4
listener.admin.downstream_cx_active: 1
listener.admin.main_thread.downstream_cx_active: 1
";
        assert_eq!(open(stats), 8, "3 in the clear and 5 on 8443");
    }

    #[test]
    fn a_gauge_that_is_behind_is_no_harm() {
        assert_eq!(open("http.stats.downstream_cx_active: 3\nlistener.a.downstream_cx_active: 2\n"), 0);
        assert_eq!(open("listener.a.downstream_cx_active: -1\nlistener.b: 7\nnonsense\n\n"), 0);
        assert_eq!(open(""), 0);
    }
}
