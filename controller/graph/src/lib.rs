//! Objects to virtual hosts, routes, clusters and diagnostics, host by host.
