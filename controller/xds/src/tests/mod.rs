//! Tests of the state machine: transition scripts as data, and properties under random histories.

mod held;
mod peer;
mod properties;
mod scripts;
mod several;
