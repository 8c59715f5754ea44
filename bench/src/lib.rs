//! Benches: criterion for the controller work, and propagation end to end.
