//! From a world that is refused to the few objects, made small, that are enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;
use proptest::strategy::ValueTree;
use serde_json::Value;

use super::trial::{Refusal, Trial};
use super::world::Tree;

/// How often Envoy is asked, at most, to leave out objects, and then as often again to make them small.
const MOST_TRIES: usize = 200;

/// Each way in which Envoy refuses, with the objects that cause it.
#[derive(Default)]
pub(crate) struct Failures(BTreeMap<String, String>);

impl Failures {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes each new way of refusal small.
    pub(crate) async fn learn(
        &mut self,
        trial: &mut Trial,
        mut trees: Vec<Tree>,
        refusals: &BTreeSet<Refusal>,
    ) -> Result<()> {
        for refusal in refusals {
            let class = class(&refusal.message);
            if self.0.contains_key(&class) {
                continue;
            }
            eprintln!("refused: {}: {}", refusal.resource, refusal.message);
            let mut shrink = Shrink { trial: &mut *trial, class: class.clone(), tries: 0 };
            let all: Vec<Value> = trees.iter().map(ValueTree::current).collect();
            let objects = if shrink.refused(&all).await? {
                let keep = shrink.fewer(&trees).await?;
                shrink.smaller(&mut trees, &keep).await?;
                let objects = keep.iter().map(|at| told(trees[*at].current()));
                objects.collect::<Vec<_>>().join("\n---\n")
            } else {
                "the same world after an empty one is taken: it is the change that is refused, or Envoy remembers".to_owned()
            };
            let text = format!("{}: {}\n{objects}", refusal.resource, refusal.message);
            eprintln!("{text}");
            self.0.insert(class, text);
        }
        Ok(())
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.values().try_for_each(|failure| writeln!(f, "{failure}\n"))
    }
}

/// An object as text, without what is secret and without what is long.
fn told(mut object: Value) -> String {
    if let Some(data) = object.get_mut("stringData").and_then(Value::as_object_mut) {
        for (key, text) in data.iter_mut() {
            *text = format!("{} bytes of {key}", text.as_str().map_or(0, str::len)).into();
        }
    }
    object.to_string().chars().take(4000).collect()
}

/// A message without what differs from case to case: numbers and what is quoted.
fn class(message: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in message.chars().take(400) {
        match c {
            '"' | '\'' => quoted = !quoted,
            _ if quoted || c.is_ascii_digit() => {}
            _ => out.push(c),
        }
    }
    out.chars().take(160).collect()
}

struct Shrink<'t> {
    trial: &'t mut Trial,
    class: String,
    tries: usize,
}

impl Shrink<'_> {
    /// Whether these objects alone are refused in the same way, by an Envoy that has nothing else.
    async fn refused(&mut self, values: &[Value]) -> Result<bool> {
        self.tries += 1;
        self.trial.publish(&[]).await?;
        let refusals = self.trial.publish(values).await?;
        Ok(refusals.iter().any(|refusal| class(&refusal.message) == self.class))
    }

    /// Leaves out objects as long as the rest is refused: halves, quarters, and so on.
    async fn fewer(&mut self, trees: &[Tree]) -> Result<Vec<usize>> {
        let mut keep: Vec<usize> = (0..trees.len()).collect();
        let mut size = keep.len() / 2;
        while size > 0 && self.tries < MOST_TRIES {
            let mut from = 0;
            while from < keep.len() && self.tries < MOST_TRIES {
                let to = (from + size).min(keep.len());
                let rest: Vec<usize> = keep[..from].iter().chain(&keep[to..]).copied().collect();
                let values: Vec<Value> = rest.iter().map(|at| trees[*at].current()).collect();
                if self.refused(&values).await? {
                    keep = rest;
                } else {
                    from = to;
                }
            }
            size /= 2;
        }
        Ok(keep)
    }

    /// Makes what is left simpler as long as it is refused.
    async fn smaller(&mut self, trees: &mut [Tree], keep: &[usize]) -> Result<()> {
        for at in keep {
            while self.tries < 2 * MOST_TRIES && trees[*at].simplify() {
                loop {
                    let values: Vec<Value> = keep.iter().map(|at| trees[*at].current()).collect();
                    if self.refused(&values).await? || !trees[*at].complicate() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
