//! What we send, Envoy takes: worlds of schema-valid objects with odd values, each given to a real Envoy in place of the one before.
//!
//! Every refusal is a bug of ours, in what the graph lets pass or in how it is translated. `PARITY_OBJECTS` says how many objects,
//! `PARITY_SEED` which ones, `PARITY_WITHOUT` which classes of odd values are left out (see `texts.rs`). `make fuzz` is the long form.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod kinds;
mod pki;
mod schema;
mod shape;
mod shrink;
#[path = "../support/mod.rs"]
mod support;
mod texts;
mod trial;
mod world;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use trial::Trial;
use world::Worlds;

/// Objects of one world.
const WORLD: usize = 500;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[tokio::test]
async fn envoy_takes_whatever_the_schemas_take() -> Result<()> {
    let (seed, wanted) = (number("PARITY_SEED", 8), number("PARITY_OBJECTS", 2000));
    let most = number("PARITY_FAILURES", 1);
    let mut worlds = Worlds::new(seed, WORLD);
    let mut trial = Trial::start().await?;
    let started = Instant::now();
    let mut failures = shrink::Failures::default();
    while (trial.figures.objects as u64) < wanted && (failures.len() as u64) < most {
        let trees = worlds.next();
        let values: Vec<Value> = trees.iter().map(|tree| tree.current()).collect();
        let refusals = trial.publish(&values).await?;
        let figures = trial.figures.clone();
        failures.learn(&mut trial, trees, &refusals).await?;
        trial.figures = figures;
    }
    let figures = &trial.figures;
    println!("seed {seed}, {:.1} s: {figures:#?}", started.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "PARITY_SEED={seed} PARITY_OBJECTS={}\n{failures}", figures.objects);
    assert!(
        figures.serving * 2 >= figures.hosts,
        "of {} hosts only {} serve",
        figures.hosts,
        figures.serving
    );
    Ok(())
}

/// What the test above stands on.
#[tokio::test]
async fn a_refusal_is_noticed() -> Result<()> {
    let mut trial = Trial::start().await?;
    assert_eq!(trial.publish(&[]).await?, BTreeSet::new());
    trial.spoil();
    let refusals = trial.publish(&[]).await?;
    assert!(refusals.iter().any(|refusal| refusal.resource.starts_with("cds ")), "{refusals:?}");
    Ok(())
}
