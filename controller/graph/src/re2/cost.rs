//! How many instructions RE2 makes of something: exact where that is simple, else an upper bound.

/// `.`, which is two ranges and a branch.
pub(super) const DOT: u64 = 3;

/// What every program has: to fail, to match, and to start anywhere.
pub(super) const FRAME: u64 = 4;

/// A class of these ranges, each with a branch that leads to it.
pub(super) fn ranges(number: usize) -> u64 {
    2 * number as u64
}
