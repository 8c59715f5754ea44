//! Filtering of requests by address.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A range of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct IpFilterPolicy {
    /// Which address of a request is compared.
    pub source: IpFilterSource,
    /// The range in CIDR notation. A bare address stands for itself alone.
    pub cidr: String,
}

/// Which address of a request is compared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum IpFilterSource {
    /// The address that the connection comes from.
    #[default]
    Peer,
    /// The address of the client, as told by the proxies in front that are trusted.
    Remote,
}
