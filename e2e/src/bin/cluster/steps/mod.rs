//! The story, step by step.

pub(crate) mod install;
pub(crate) mod nodes;
pub(crate) mod orphaned;
pub(crate) mod others;
pub(crate) mod removal;
pub(crate) mod rotation;
pub(crate) mod serve;
pub(crate) mod stock;
pub(crate) mod upgrade;
