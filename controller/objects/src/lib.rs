//! The object store: events in, a snapshot and what changed out.
