//! Played Envoys against a real controller with a real kube-apiserver, few of each: what they are told, not how long it takes.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::time::Duration;

use contour_bench::many::fleet::Faults;
use contour_bench::many::{Bench, Phase, Size};
use contour_e2e::apiserver;

const STREAMS: usize = 20;
const HOSTS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_told_everything_and_nothing_twice() {
    if apiserver::is_left_out() {
        return;
    }
    let size = Size { streams: STREAMS, hosts: HOSTS, changes: 2, silent: 2, rest: Duration::ZERO };
    let contour = [env!("CARGO_BIN_EXE_many"), "contour"].map(OsString::from);
    let mut bench = Bench::start(&contour, size).await.unwrap();
    for phase in [Phase::Cold, Phase::Host, Phase::Endpoint, Phase::Reconnect, Phase::Restart] {
        // It ends when every stream has, and has accepted, everything.
        bench.run(phase).await.unwrap_or_else(|error| panic!("{phase:?}: {error:#}"));
        let row = bench.figures().rows.last().unwrap();
        assert_eq!(row.faults, Faults::default(), "{row:#?}");
        let each = row.told.resources / u64::try_from(STREAMS).unwrap();
        let expected = match phase {
            // Clusters and endpoints; four listeners, two tables and a runtime layer at most.
            Phase::Cold => 2 * HOSTS + 1..=2 * HOSTS + 7,
            // A cluster, its endpoints and the table; one endpoint.
            Phase::Host => 6..=6,
            Phase::Endpoint => 2..=2,
            _ => 0..=0,
        };
        assert!(expected.contains(&usize::try_from(each).unwrap()), "{each} resources a stream: {row:#?}");
        assert_eq!(row.told.resources % u64::try_from(STREAMS).unwrap(), 0, "{row:#?}");
    }
}
