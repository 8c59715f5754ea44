//! `xtask`: generation and checks.
fn main() {}
