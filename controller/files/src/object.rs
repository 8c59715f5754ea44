//! One object that is in no file: what a file with it alone would say.

use std::sync::Arc;

use contour_objects::Object;
use serde_json::Value;

use crate::document::{Content, Outcome, read};
use crate::problem::Severity;
use crate::yaml::Node;

/// Checks an object as a file that holds it is checked: schema, defaults, names. `None` for one that nothing is made of.
///
/// # Errors
///
/// What a cluster would refuse it for.
pub fn object(json: &Value) -> Result<Option<Object>, Vec<String>> {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for reading in read(&Node::from(json)) {
        let refused = reading.issues.into_iter().filter(|issue| issue.severity == Severity::Error);
        errors.extend(refused.map(|issue| issue.message));
        if let Outcome::Valid(document) = reading.outcome {
            objects.extend(match document.content {
                Content::Proxy(proxy, _) => Some(Object::HttpProxy(Arc::clone(&proxy))),
                Content::Object(object) => Some(object),
                Content::Deployment(_) | Content::Unused => None,
            });
        }
    }
    if errors.is_empty() { Ok(objects.pop()) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_checked_as_in_a_file() {
        let service = |port: u32| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": port}]}});
        let read = object(&service(80)).unwrap().unwrap();
        assert_eq!(read.reference().to_string(), "Service default/web");
        assert_eq!(object(&service(0)).unwrap_err(), ["spec.ports[0].port: must be at least 1, not 0"]);
    }
}
