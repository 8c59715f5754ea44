//! Hosts that wait to be built. Namespaces take turns, so that one with much to build does not delay another's single host.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The hosts that wait, by the namespaces that contribute to them: each waits in the line of every one.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    hosts: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    waiting: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Namespaces with waiting hosts, by the work that was done for them since the queue was last empty.
    turns: BTreeSet<(u64, Arc<str>)>,
    worked: HashMap<Arc<str>, u64>,
}

impl Queue {
    /// Adds a host. One that waits already keeps its place.
    pub(crate) fn add(&mut self, host: &Arc<str>, namespaces: BTreeSet<Arc<str>>) {
        if self.hosts.contains_key(host) {
            return;
        }
        for namespace in &namespaces {
            self.waiting.entry(Arc::clone(namespace)).or_default().insert(Arc::clone(host));
            self.turns.insert((self.worked(namespace), Arc::clone(namespace)));
        }
        self.hosts.insert(Arc::clone(host), namespaces);
    }

    /// Takes the next host of the namespace for which least was done.
    pub(crate) fn take(&mut self) -> Option<(Arc<str>, Arc<str>)> {
        let (_, namespace) = self.turns.first()?.clone();
        let host = self.waiting.get(&namespace)?.first()?.clone();
        for namespace in self.hosts.remove(&host).unwrap_or_default() {
            let Some(hosts) = self.waiting.get_mut(&namespace) else { continue };
            hosts.remove(&host);
            if hosts.is_empty() {
                self.waiting.remove(&namespace);
                self.turns.remove(&(self.worked(&namespace), namespace));
            }
        }
        Some((host, namespace))
    }

    /// Notes work that was done for a namespace.
    pub(crate) fn worked_for(&mut self, namespace: &Arc<str>, work: u64) {
        if self.hosts.is_empty() {
            return self.worked.clear();
        }
        let before = self.worked(namespace);
        self.worked.insert(Arc::clone(namespace), before + work);
        if self.turns.remove(&(before, Arc::clone(namespace))) {
            self.turns.insert((before + work, Arc::clone(namespace)));
        }
    }

    fn worked(&self, namespace: &Arc<str>) -> u64 {
        self.worked.get(namespace).copied().unwrap_or_default()
    }

    /// Whether a host waits.
    pub(crate) fn contains(&self, host: &Arc<str>) -> bool {
        self.hosts.contains_key(host)
    }

    /// Whether no host waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_take_turns_by_the_work_done_for_them() {
        let mut queue = Queue::default();
        let text = |text: &str| Arc::<str>::from(text);
        for host in ["a1", "a2", "a3"] {
            queue.add(&text(host), [text("a")].into());
        }
        let mut taken = Vec::new();
        while let Some((host, namespace)) = queue.take() {
            if *host == *"a1" {
                queue.add(&text("b1"), [text("b")].into());
                queue.add(&text("b2"), [text("a"), text("b")].into());
            }
            queue.worked_for(&namespace, if *namespace == *"a" { 10 } else { 6 });
            taken.push(host.to_string());
        }
        assert_eq!(taken, ["a1", "b1", "b2", "a2", "a3"]);
        assert!(queue.is_empty() && queue.worked.is_empty() && queue.turns.is_empty());
    }
}
