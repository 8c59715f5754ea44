use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Nodes by what is said of them: `a+` is ready, `b-` is not, `c/d+` has two addresses.
fn said(text: &str) -> Nodes {
    let node = |word: &str| {
        let (all, sign) = word.split_at(word.len() - 1);
        let addresses: Vec<String> = all.split('/').map(str::to_owned).collect();
        (addresses[0].clone(), Node { addresses, ready: sign == "+" })
    };
    text.split_whitespace().map(node).collect()
}

fn numbered(numbers: impl IntoIterator<Item = usize>, sign: &str) -> String {
    let words: Vec<String> =
        numbers.into_iter().map(|n| format!("10.0.{}.{}{sign}", n / 250, n % 250)).collect();
    words.join(" ")
}

/// Walks through (second, nodes, addresses, seconds until the next wake-up).
fn walk(told: &[&str], steps: &[(i64, &str, &str, Option<i64>)]) {
    let told: Vec<String> = told.iter().map(|&told| told.to_owned()).collect();
    let mut addresses = Addresses::default();
    for (second, nodes, expected, wakes) in steps {
        let published = addresses.pass(&said(nodes), &told, at(*second));
        let again = published.again.map(|again| again.as_secs());
        assert_eq!((published.addresses.join(" ").as_str(), again), (*expected, *wakes), "{second}: {nodes}");
    }
}

#[test]
fn an_installation_starts_at_once_and_then_changes_are_gathered() {
    walk(
        &[],
        &[
            (100, "", "", None),
            (100, "a+", "a", None),
            (100, "a+ b+", "a b", None),
            (100, "a+ b+ c+", "a b", Some(5)),
            (103, "a+ b+ c+ d+", "a b", Some(2)),
            (105, "a+ b+ c+ d+ e-", "a b c d", None),
            (106, "a+ b+ c+ d+ e+", "a b c d", Some(4)),
            (110, "a+ b+ c+ d+ e+", "a b c d e", None),
            (300, "a+ b+ c+ d+ e+ f+", "a b c d e f", None),
        ],
    );
}

#[test]
fn who_is_not_ready_for_a_moment_stays() {
    walk(
        &[],
        &[
            (100, "a+ b+", "a b", None),
            (110, "a+ b-", "a b", Some(30)),
            (139, "a+ b-", "a b", Some(1)),
            (139, "a+ b+", "a b", None),
            // The time begins anew.
            (140, "a+ b-", "a b", Some(30)),
            (169, "a+ b-", "a b", Some(1)),
            (170, "a+ b-", "a", None),
            // It has to last before it comes back.
            (180, "a+ b+", "a", Some(30)),
            (200, "a+ b-", "a", None),
            (201, "a+ b+", "a", Some(30)),
            (231, "a+ b+", "a b", None),
            (232, "a+ b-", "a b", Some(30)),
        ],
    );
}

#[test]
fn who_has_to_leave_leaves_at_once_and_is_back_at_once() {
    walk(
        &[],
        &[
            (100, "a+ b+", "a b", None),
            (110, "a+", "a", None),
            (120, "a+ b+", "a b", None),
            (121, "a+ b-", "a b", Some(30)),
            // It was not well, and now its pod goes.
            (126, "a+", "a", None),
            (131, "a+ b+", "a b", None),
            // Two that leave one after the other.
            (140, "b+", "b", None),
            (141, "", "b", Some(4)),
            (145, "", "", None),
            // Where there is none, nobody waits.
            (146, "a+", "a", None),
        ],
    );
}

#[test]
fn if_all_fail_the_first_that_is_ready_again_is_welcome() {
    walk(
        &[],
        &[
            (100, "a+ b+", "a b", None),
            (110, "a- b-", "a b", Some(30)),
            (140, "a- b-", "", None),
            (150, "a+ b-", "a", None),
            (151, "a+ b+", "a", Some(30)),
            (181, "a+ b+", "a b", None),
        ],
    );
}

#[test]
fn after_a_restart_what_the_status_says_is_held() {
    walk(
        &["a", "b", "z"],
        &[
            (100, "a+ b- c-", "a b", Some(30)),
            (100, "a+ b- c+", "a b c", Some(30)),
            (130, "a+ b- c+", "a c", None),
        ],
    );
    // What was told is no node's: it was published in another way.
    walk(&["192.0.2.9"], &[(100, "a+ b-", "a", None)]);
}

#[test]
fn a_clock_that_is_put_back_holds_nothing_for_ever() {
    walk(
        &[],
        &[
            (9_000, "a+ b+", "a b", None),
            (9_000, "a+ b+ c+", "a b c", None),
            (9_001, "a+ b- c+", "a b c", Some(30)),
            (100, "a+ b- c+", "a b c", Some(30)),
            (130, "a+ b- c+", "a c", None),
        ],
    );
}

#[test]
fn one_node_that_flaps_changes_little_however_it_flaps() {
    for (up, down) in [(1, 1), (3, 29), (29, 31), (40, 1), (31, 31), (1, 40), (60, 60)] {
        let mut addresses = Addresses::default();
        let (mut last, mut changes) = (Vec::new(), 0);
        for second in 0..3_600 {
            let nodes = if second % (up + down) < up { "a+ b+" } else { "a+ b-" };
            let published = addresses.pass(&said(nodes), &[], at(second));
            changes += usize::from(published.addresses != last);
            last = published.addresses;
        }
        // At most one change in the time that it has to be the one or the other.
        let most = 2 + 3_600 / usize::try_from(HOLD.as_secs()).unwrap();
        let held = down <= 30 || up < 30;
        assert!(changes <= if held { 3 } else { most }, "{up} up, {down} down: {changes} changes");
    }
}

#[test]
fn over_the_bound_the_list_is_cut_and_stays_while_its_own_are_well() {
    let mut addresses = Addresses::default();
    let mut pass = |nodes: &str, second| addresses.pass(&said(nodes), &[], at(second));
    let first = pass(&numbered(0..500, "+"), 100);
    assert_eq!((first.addresses.len(), first.cut), (MOST, true));
    assert_eq!(Addresses::default().pass(&said(&numbered(0..500, "+")), &[], at(7)), first);
    let is_listed = |n: &usize| first.addresses.contains(&numbered([*n], ""));
    let (listed, others): (Vec<usize>, Vec<usize>) = (0..500).partition(is_listed);
    // Some of every hundred.
    for hundred in 0..5 {
        assert!(listed.iter().any(|n| n / 100 == hundred), "{listed:?}");
    }

    // Others come and go.
    for (second, sign) in [(200, "-"), (300, "+"), (400, "-")] {
        let now =
            pass(&format!("{} {}", numbered(listed.clone(), "+"), numbered(others.clone(), sign)), second);
        assert_eq!((now.addresses, now.again), (first.addresses.clone(), None), "{second}");
    }
    // One leaves: another takes its place, and keeps it.
    let gone = format!("{} {}", numbered(listed[1..].to_vec(), "+"), numbered(others.clone(), "+"));
    let second = pass(&gone, 500).addresses;
    assert_eq!(second.iter().filter(|one| !first.addresses.contains(one)).count(), 1);
    assert_eq!(pass(&numbered(0..500, "+"), 600).addresses, second);
    // What an earlier version told was not cut.
    let told = said(&numbered(0..500, "+")).into_keys().collect::<Vec<_>>();
    assert_eq!(Addresses::default().pass(&said(&numbered(0..500, "+")), &told, at(7)), first);
    let few = pass(&numbered(0..MOST, "+"), 700);
    assert_eq!((few.addresses.len(), few.cut), (MOST, false));
}

#[test]
fn nodes_of_two_families_are_published_whole() {
    walk(&[], &[(100, "10.1.0.1/fd00::1+ 10.1.0.2+", "10.1.0.1 10.1.0.2 fd00::1", None)]);
    let nodes: Vec<String> = (0..99).map(|n| format!("10.0.0.{n}/fd00::{n}+")).collect();
    let published = Addresses::default().pass(&said(&nodes.join(" ")), &[], at(1));
    let of = |family: &str| published.addresses.iter().filter(|one| one.starts_with(family)).count();
    assert_eq!((of("10."), of("fd00"), published.cut), (MOST / 2, MOST / 2, true));
}

#[test]
fn nodes_are_read_from_pods() {
    use IpFamily::{IPv4, IPv6};

    let pod = |ready: &str, deleted: bool, status: Value| {
        let mut status = status;
        status["conditions"] = json!([{"type": "Ready", "status": ready}]);
        let deleted = deleted.then_some("2026-01-01T00:00:00Z");
        let pod = json!({"metadata": {"deletionTimestamp": deleted}, "status": status});
        Pod::cached(pod)
    };
    let on = |node: &str| json!({ "hostIP": node });
    let live = Live {
        envoy: vec![
            pod(
                "True",
                false,
                json!({"hostIP": "10.1.0.2", "hostIPs": [{"ip": "10.1.0.2"}, {"ip": "fd00::2"}]}),
            ),
            pod("False", false, on("10.1.0.1")),
            pod("True", false, on("10.1.0.1")),
            pod("False", false, on("10.1.0.3")),
            pod("True", true, on("10.1.0.4")),
            pod("True", true, on("10.1.0.5")),
            pod("False", false, on("10.1.0.5")),
            pod("False", false, json!({})),
        ],
        unproven: vec![
            (Component::Envoy, pod("True", false, on("10.1.0.6"))),
            (Component::Contour, pod("True", false, on("10.1.0.7"))),
        ],
        ..Live::default()
    };
    let all = "10.1.0.1+ 10.1.0.2/fd00::2+ 10.1.0.3- 10.1.0.5- 10.1.0.6-";
    assert_eq!(nodes(&live, &[IPv4, IPv6]), said(all));
    // Only what is served.
    assert_eq!(nodes(&live, &[IPv4]), said(&all.replace("/fd00::2", "")));
    assert_eq!(nodes(&live, &[IPv6]), said("fd00::2+"));
}
