//! The runtime layer delivered by RTDS.

use std::collections::BTreeMap;

use contour_resource::Resource;
use prost::Message;
use serde_json::Value as Json;

use crate::names;
use crate::proto::{Runtime, Struct, Value};

/// The layer `dynamic`: bounds on what a regular expression may cost, and the installation's keys. Ours win.
pub(crate) fn resource(configured: &BTreeMap<String, Json>) -> Resource {
    let ours = [("re2.max_program_size.error_level", 1 << 20), ("re2.max_program_size.warn_level", 1000)];
    let mut fields: BTreeMap<String, Value> =
        configured.iter().map(|(key, value)| (key.clone(), Value::from(value))).collect();
    fields.extend(ours.map(|(key, value)| (key.to_owned(), Value::from(&Json::from(value)))));
    let runtime = Runtime { name: names::RUNTIME_LAYER.to_owned(), layer: Some(Struct { fields }) };
    Resource::whole(names::RUNTIME_LAYER, runtime.encode_to_vec())
}
