//! Graph to Envoy resources; owner of every Envoy name.
