//! What goes into a session and what comes out of it, in terms that both protocols share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use contour_resource::ResourceType;

use crate::batch::Batch;

/// The two protocols: what a response carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Changes and removals by name.
    Delta,
    /// State of the world: for Clusters and Listeners every resource, for other types what changed.
    Sotw,
}

impl Mode {
    /// The name used in metrics and on debug pages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Sotw => "sotw",
        }
    }
}

/// A text in a request, which it shares: a reconnecting Envoy lists tens of thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(Bytes);

impl Text {
    /// `None` for what is not UTF-8.
    pub(crate) fn new(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        // It was looked at when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A request of either protocol.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: ResourceType,
    pub(crate) nonce: String,
    /// The peer's error, when it refuses the response with this nonce.
    pub(crate) error: Option<String>,
    pub(crate) asked: Asked,
}

/// What a request says about wanted resources.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// `initial` has names with the versions that the peer has.
    Delta {
        subscribe: Vec<Text>,
        unsubscribe: Vec<Text>,
        initial: Vec<(Text, Text)>,
    },
    Sotw {
        names: Vec<Text>,
        version: String,
    },
}

/// A response of either protocol.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) kind: ResourceType,
    pub(crate) nonce: String,
    pub(crate) version: String,
    pub(crate) resources: Batch,
    pub(crate) removed: Vec<Arc<str>>,
}

/// What a session wants done or known.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Send(Response),
    Acked {
        kind: ResourceType,
        committed: Option<Instant>,
    },
    Nacked {
        kind: ResourceType,
        message: String,
    },
    Rejected {
        kind: ResourceType,
        resource: Arc<str>,
        part: Arc<str>,
        hash: u64,
        message: String,
    },
    Recovered {
        kind: ResourceType,
        resource: Arc<str>,
        part: Arc<str>,
    },
    /// Listeners and Routes are sent although the peer did not warm these Clusters in time.
    GaveUp {
        waited_for: Vec<Arc<str>>,
    },
}
