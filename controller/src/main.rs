//! `contour`: the data-plane controller.
fn main() {}
