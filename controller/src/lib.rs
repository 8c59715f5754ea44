//! The data-plane controller: flags and wiring.
