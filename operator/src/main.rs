//! `contour-operator`.
fn main() {}
