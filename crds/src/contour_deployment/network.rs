//! Who reaches pods.

use crate::schema::brief_list;
use crate::serde_rules::unset;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who reaches pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicies {
    /// Who may ask pods for their metrics and health, beside the kubelet of their node and the operator; everybody by default.
    #[serde(default, skip_serializing_if = "unset")]
    #[schemars(schema_with = "brief_list::<NetworkPolicyPeer>")]
    pub metrics_from: Vec<NetworkPolicyPeer>,
}
