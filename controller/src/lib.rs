//! The data-plane controller: flags and wiring.

pub mod cli;
pub mod cmd;
pub mod config;
pub mod engine;
pub mod standalone;
