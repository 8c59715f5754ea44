//! The two clusters that exist before xDS.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Bootstrap, DnsLookupFamily, XDS_CLUSTER};
use crate::names::ENVOY_ADMIN;

impl Bootstrap {
    /// The controller.
    pub(super) fn contour_cluster(&self) -> Value {
        let discovery = if self.xds_address.parse::<IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" };
        let family = match self.dns_lookup_family {
            DnsLookupFamily::Auto => "AUTO",
            DnsLookupFamily::V4 => "V4_ONLY",
            DnsLookupFamily::V6 => "V6_ONLY",
            DnsLookupFamily::All => "ALL",
        };
        let address = json!({"socket_address": {"address": self.xds_address, "port_value": self.xds_port}});
        let mut cluster = json!({
            "name": XDS_CLUSTER,
            "alt_stat_name": format!("{}_{XDS_CLUSTER}_{}", self.namespace, self.xds_port),
            "type": discovery,
            "connect_timeout": "5s",
            "dns_lookup_family": family,
            "load_assignment": assignment(XDS_CLUSTER, &address),
            // A controller that vanished without a word is noticed after 45 s.
            "upstream_connection_options": {
                "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 5},
            },
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "circuit_breakers": {"thresholds": [thresholds("HIGH"), thresholds("DEFAULT")]},
        });
        if let Some(socket) = self.transport_socket() {
            cluster["transport_socket"] = socket;
        }
        cluster
    }

    /// Envoy's own administration, for the read-only listener that the controller delivers.
    pub(super) fn admin_cluster(&self) -> Value {
        let address = json!({"pipe": {"path": self.admin_socket, "mode": 0o644}});
        json!({
            "name": ENVOY_ADMIN,
            "alt_stat_name": format!("{}_{ENVOY_ADMIN}_{}", self.namespace, self.admin_port),
            "type": "STATIC",
            "connect_timeout": "0.250s",
            "load_assignment": assignment(ENVOY_ADMIN, &address),
        })
    }
}

fn assignment(cluster: &str, address: &Value) -> Value {
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]})
}

/// So large that xDS is never what they break.
fn thresholds(priority: &str) -> Value {
    json!({
        "priority": priority,
        "max_connections": 100_000,
        "max_pending_requests": 100_000,
        "max_requests": 60_000_000,
        "max_retries": 50,
        "track_remaining": true,
    })
}
