//! The same objects from a directory of YAML: the embedded mode.
