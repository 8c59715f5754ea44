//! Readiness by handles: whoever has something to finish first holds one, and gives it back when done.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// Whether everything that must happen before serving has happened.
///
/// Take every handle before the endpoints are served: without any handle the process counts as ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Handles out per name.
    awaited: watch::Sender<BTreeMap<String, usize>>,
}

/// Holds readiness back until it is released or dropped. One that is dropped by a panic holds it back for good:
/// what it stood for was never finished.
#[derive(Debug)]
#[must_use = "a handle that is dropped at once holds nothing back"]
pub struct ReadinessHandle {
    name: String,
    awaited: watch::Sender<BTreeMap<String, usize>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Ready until the first handle is taken.
    pub fn new() -> Self {
        Self { awaited: watch::Sender::new(BTreeMap::new()) }
    }

    /// Makes readiness wait for `name`, the words that the readiness endpoint shows. Several handles may share a name.
    pub fn handle(&self, name: impl Into<String>) -> ReadinessHandle {
        let name = name.into();
        self.awaited.send_modify(|awaited| *awaited.entry(name.clone()).or_default() += 1);
        ReadinessHandle { name, awaited: self.awaited.clone() }
    }

    /// Whether no handle is out.
    pub fn is_ready(&self) -> bool {
        self.awaited.borrow().is_empty()
    }

    /// Names that are still awaited, in order.
    pub fn awaited(&self) -> Vec<String> {
        self.awaited.borrow().keys().cloned().collect()
    }

    /// Returns once no handle is out.
    pub async fn wait(&self) {
        // The sender lives in `self`, so the channel cannot be closed while we wait.
        let _ = self.awaited.subscribe().wait_for(BTreeMap::is_empty).await;
    }
}

impl ReadinessHandle {
    /// Says that what this handle stands for is done. The same as dropping it, in words.
    pub fn release(self) {}
}

impl Drop for ReadinessHandle {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.awaited.send_modify(|awaited| {
            if let Some(count) = awaited.get_mut(&self.name) {
                *count -= 1;
                if *count == 0 {
                    awaited.remove(&self.name);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_every_handle() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let objects = readiness.handle("objects");
        let first = readiness.handle("configuration");
        let second = readiness.handle("configuration");
        assert_eq!(readiness.awaited(), ["configuration", "objects"]);

        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait().await }
        });
        objects.release();
        drop(first);
        assert_eq!(readiness.awaited(), ["configuration"]);
        assert!(!readiness.is_ready() && !waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_panic_never_makes_ready() {
        let readiness = Readiness::new();
        let handle = readiness.handle("objects");
        let thread = std::thread::spawn(move || {
            let _handle = handle;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!(readiness.awaited(), ["objects"]);
    }
}
