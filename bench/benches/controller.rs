//! The controller's own work: store, graph, translation, encoding, and the difference published to xDS.
//!
//! `fresh` starts from nothing. `one change` edits one HTTPProxy among all, and also assembles the body of the RouteConfiguration that a
//! stream would send. `one endpoint` swaps the address of one Service.

use std::time::Duration;

use contour_bench::{engine, installation, proxy, slice};
use contour_objects::Event;
use contour_resource::ResourceType;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

fn controller(c: &mut Criterion) {
    for hosts in [1_000, 10_000] {
        for tls in [false, true] {
            let kind = if tls { "tls" } else { "plain" };
            fresh(c, hosts, tls, kind);
            one_change(c, hosts, tls, kind);
        }
        one_endpoint(c, hosts);
    }
}

fn fresh(c: &mut Criterion, hosts: usize, tls: bool, kind: &str) {
    let events = installation(hosts, tls);
    c.bench_function(&format!("fresh/{kind}/{hosts}"), |b| {
        b.iter_batched(
            || (engine(), events.clone()),
            |((mut engine, cache), events)| {
                engine.step(events);
                (engine, cache)
            },
            BatchSize::PerIteration,
        );
    });
}

fn one_change(c: &mut Criterion, hosts: usize, tls: bool, kind: &str) {
    let (mut engine, cache) = engine();
    engine.step(installation(hosts, tls));
    let mut variant = 0;
    c.bench_function(&format!("one change/{kind}/{hosts}"), |b| {
        b.iter(|| {
            variant += 1;
            engine.step([Event::Apply(proxy(hosts / 2, variant, tls))]);
            let snapshot = cache.snapshot();
            snapshot.get(ResourceType::Route, "ingress_http").map(|routes| routes.body().len())
        });
    });
}

fn one_endpoint(c: &mut Criterion, hosts: usize) {
    let (mut engine, _cache) = engine();
    engine.step(installation(hosts, false));
    let mut variant = 0_u8;
    c.bench_function(&format!("one endpoint/{hosts}"), |b| {
        b.iter(|| {
            variant = variant.wrapping_add(1);
            engine.step([Event::Apply(slice(hosts / 2, variant))]);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = controller
}
criterion_main!(benches);
