//! Kubernetes' strategic merge patch, as the API server merges it (`k8s.io/apimachinery/pkg/util/strategicpatch`). Pure.
//!
//! Objects are merged field by field, null removes a field, and lists are replaced, but for those whose items are told apart by a key. The
//! directives `$patch: delete`, `$patch: replace` and `$retainKeys` have their meaning. `$setElementOrder` and `$deleteFromPrimitiveList`, which
//! `kubectl` computes and nobody writes, are refused.
//!
//! In one thing this differs: null in a map of an item that is new says nothing here, where the API server makes `0` or an empty text of it.

use serde_json::{Map, Value};

use super::{Fault, Target, below, item};

/// Says what happens to the object or list item that it stands in.
const DIRECTIVE: &str = "$patch";

/// The fields that an object keeps, others being removed.
const RETAIN: &str = "$retainKeys";

/// Whether a field of a patch tells how to merge, and is no field of the object.
pub(super) fn is_directive(field: &str) -> bool {
    field == DIRECTIVE || field == RETAIN
}

/// What `patch` makes of an object. The patch keeps to the types of the target: see [`super::shape`].
pub(super) fn merge(
    target: Target,
    object: &Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Fault> {
    Place { target, path: String::new(), fields: Vec::new() }.objects(object, patch)
}

/// Where in a patch one is.
#[derive(Clone)]
struct Place<'a> {
    target: Target,
    /// The path, for messages.
    path: String,
    /// The names of the fields on the way, without the places in lists.
    fields: Vec<&'a str>,
}

impl<'a> Place<'a> {
    fn field(&self, name: &'a str) -> Self {
        let mut fields = self.fields.clone();
        fields.push(name);
        Self { target: self.target, path: below(&self.path, name), fields }
    }

    fn item(&self, index: usize) -> Self {
        Self { path: item(&self.path, index), ..self.clone() }
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.path.clone(), message)
    }

    fn objects(
        &self,
        object: &Map<String, Value>,
        patch: &'a Map<String, Value>,
    ) -> Result<Map<String, Value>, Fault> {
        match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None => {}
            Some("replace") => return self.whole_fields(patch),
            Some("delete") => return Ok(Map::new()),
            Some(_) => return Err(self.field(DIRECTIVE).fault("is delete or replace, and nothing else")),
        }
        let mut merged = object.clone();
        if let Some(keep) = patch.get(RETAIN) {
            self.retain(&mut merged, keep, patch)?;
        }
        for (name, value) in patch.iter().filter(|(name, _)| !is_directive(name)) {
            let value = match (merged.get(name), value) {
                (_, Value::Null) => None,
                (Some(Value::Object(old)), Value::Object(new)) => {
                    Some(Value::Object(self.field(name).objects(old, new)?))
                }
                (Some(Value::Array(old)), Value::Array(new)) => {
                    Some(Value::Array(self.field(name).lists(old, new)?))
                }
                (_, new) => plain(new),
            };
            match value {
                Some(value) => merged.insert(name.clone(), value),
                None => merged.shift_remove(name),
            };
        }
        Ok(merged)
    }

    fn retain(
        &self,
        merged: &mut Map<String, Value>,
        keep: &Value,
        patch: &Map<String, Value>,
    ) -> Result<(), Fault> {
        let here = self.clone();
        let wrong = || Fault::new(below(&here.path, RETAIN), "is a list of all fields to keep");
        let keep = keep.as_array().ok_or_else(wrong)?;
        let kept = |name: &str| keep.iter().any(|one| one.as_str() == Some(name));
        if patch.iter().any(|(name, value)| !is_directive(name) && !value.is_null() && !kept(name)) {
            return Err(wrong());
        }
        merged.retain(|name, _| kept(name));
        Ok(())
    }

    fn lists(&self, old: &[Value], new: &'a [Value]) -> Result<Vec<Value>, Fault> {
        let Some(key) = merge_key(self.target, &self.fields) else {
            let each = new.iter().enumerate().filter(|(_, value)| !value.is_null());
            return each.map(|(index, value)| self.item(index).whole(value)).collect();
        };
        let mut kept = old.to_vec();
        let mut replaces = false;
        let mut patches: Vec<(usize, &'a Map<String, Value>)> = Vec::new();
        for (index, value) in new.iter().enumerate() {
            let place = self.item(index);
            let Value::Object(patch) = value else { return Err(place.fault("is an object")) };
            let named = || {
                patch.get(key).ok_or_else(|| place.fault(format!("needs {key}, which tells it from others")))
            };
            match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
                None => {
                    named()?;
                    patches.push((index, patch));
                }
                Some("delete") => {
                    let gone = named()?;
                    kept.retain(|item| item.get(key) != Some(gone));
                }
                Some("replace") => replaces = true,
                Some(_) => {
                    return Err(Fault::new(
                        below(&place.path, DIRECTIVE),
                        "is delete or replace, and nothing else",
                    ));
                }
            }
        }
        if replaces {
            let each = patches.into_iter();
            return each
                .map(|(index, patch)| self.item(index).whole_fields(patch).map(Value::Object))
                .collect();
        }
        self.keyed(key, &kept, &patches)
    }

    /// Merges items of the same key, and puts all in the API server's order: that of the patch for what is patched or new, which comes before
    /// what only the object has, unless the object has both in the other order.
    fn keyed(
        &self,
        key: &str,
        old: &[Value],
        patches: &[(usize, &'a Map<String, Value>)],
    ) -> Result<Vec<Value>, Fault> {
        let place_of = |item: &Value| old.iter().position(|one| one.get(key) == item.get(key));
        let mut changed: Vec<Value> = Vec::new();
        for (index, patch) in patches {
            let same = |item: &&Value| item.get(key) == patch.get(key);
            let at = changed.iter().position(|item| same(&item));
            let before = at.map(|at| &changed[at]).or_else(|| old.iter().find(same));
            let value = Value::Object(match before {
                Some(Value::Object(before)) => self.item(*index).objects(before, patch)?,
                _ => self.item(*index).whole_fields(patch)?,
            });
            match at {
                Some(at) => changed[at] = value,
                None => changed.push(value),
            }
        }
        let mut rest =
            old.iter().filter(|item| !changed.iter().any(|one| one.get(key) == item.get(key))).peekable();
        let mut all = Vec::new();
        for item in &changed {
            let at = place_of(item);
            while let Some(first) = rest.next_if(|first| at.is_some() && place_of(first) < at) {
                all.push(first.clone());
            }
            all.push(item.clone());
        }
        all.extend(rest.cloned());
        Ok(all)
    }
}

impl Place<'_> {
    /// A value that is taken as a whole, in which a directive is no directive any more: the API server takes it for a field. Null says nothing.
    fn whole(&self, value: &Value) -> Result<Value, Fault> {
        match value {
            Value::Object(fields) if fields.contains_key(DIRECTIVE) => Err(self.nested(DIRECTIVE)),
            Value::Object(fields) => self.whole_fields(fields).map(Value::Object),
            Value::Array(items) => {
                let each = items.iter().enumerate().filter(|(_, value)| !value.is_null());
                each.map(|(index, value)| self.item(index).whole(value)).collect()
            }
            scalar => Ok(scalar.clone()),
        }
    }

    /// The fields of an object that is taken as a whole, but for the directive that says so.
    fn whole_fields(&self, fields: &Map<String, Value>) -> Result<Map<String, Value>, Fault> {
        if fields.contains_key(RETAIN) {
            return Err(self.nested(RETAIN));
        }
        let own = fields.iter().filter(|(name, value)| *name != DIRECTIVE && !value.is_null());
        own.map(|(name, value)| {
            let place = Self { path: below(&self.path, name), ..self.clone() };
            Ok((name.clone(), place.whole(value)?))
        })
        .collect()
    }

    fn nested(&self, directive: &str) -> Fault {
        let message = "has no meaning within what is new or replaced as a whole; leave it out";
        Fault::new(below(&self.path, directive), message)
    }
}

/// A value that is put where nothing of its type was: without directives, and without what is null.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => Some(Value::Object(plain_fields(fields))),
        Value::Array(items) => Some(items.iter().filter_map(plain).collect()),
        scalar => Some(scalar.clone()),
    }
}

fn plain_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    let own = fields.iter().filter(|(name, _)| !is_directive(name));
    own.filter_map(|(name, value)| Some((name.clone(), plain(value)?))).collect()
}

/// What the items of a list are told apart by (`patchMergeKey` of Kubernetes' types); `None`: the list is replaced as a whole.
fn merge_key(target: Target, fields: &[&str]) -> Option<&'static str> {
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    match (target, fields) {
        (Target::Service, ["spec", "ports"]) => Some("port"),
        // Of Envoy's, whose own way to merge two would take the same cluster twice.
        (
            Target::Bootstrap,
            ["static_resources", "clusters" | "secrets"]
            | ["layered_runtime", "layers"]
            | ["overload_manager", "resource_monitors" | "actions"],
        ) => Some("name"),
        (Target::Pod, ["spec", list]) => match *list {
            "volumes" | "imagePullSecrets" | "schedulingGates" | "resourceClaims" => Some("name"),
            "hostAliases" => Some("ip"),
            "topologySpreadConstraints" => Some("topologyKey"),
            list => containers.contains(&list).then_some("name"),
        },
        (Target::Pod, ["spec", list, inner]) if containers.contains(list) => match *inner {
            "ports" => Some("containerPort"),
            "env" => Some("name"),
            "volumeMounts" => Some("mountPath"),
            "volumeDevices" => Some("devicePath"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(object: Value, patch: Value) -> Result<Value, String> {
        let fields = |value: Value| value.as_object().cloned().unwrap();
        let merged = merge(Target::Pod, &fields(object), &fields(patch));
        merged.map(Value::Object).map_err(|fault| format!("{}: {}", fault.path, fault.message))
    }

    fn names(merged: &Value, list: &str) -> Vec<String> {
        let items = merged["spec"][list].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn items_keep_the_order_of_the_api_server() {
        let object = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}});
        for (patch, expected) in [
            (json!([{"name": "x"}]), "xabc"),
            (json!([{"name": "b", "tty": true}]), "abc"),
            (json!([{"name": "c"}, {"name": "a"}]), "bca"),
            (json!([{"name": "b"}, {"name": "x"}]), "abxc"),
            (json!([{"name": "b", "$patch": "delete"}]), "ac"),
            (json!([{"name": "b"}, {"$patch": "replace"}]), "b"),
        ] {
            let found = merged(object.clone(), json!({"spec": {"containers": patch}})).unwrap();
            assert_eq!(names(&found, "containers").concat(), expected, "{patch}");
        }
    }

    #[test]
    fn what_cannot_be_merged_is_told_with_its_place() {
        let object = json!({"spec": {"containers": [{"name": "a"}], "securityContext": {}}});
        for (patch, told) in [
            (json!({"$patch": "merge"}), "$patch: is delete or replace, and nothing else"),
            (
                json!({"spec": {"containers": [{"tty": true}]}}),
                "spec.containers[0]: needs name, which tells it from others",
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "$patch": 1}]}}),
                "spec.containers[0].$patch: is delete or replace, and nothing else",
            ),
            (
                json!({"spec": {"containers": [{"name": "b", "resources": {"$patch": "replace"}}]}}),
                "spec.containers[0].resources.$patch: has no meaning within what is new or replaced as a whole; leave it out",
            ),
            (
                json!({"spec": {"securityContext": {"$retainKeys": ["a"], "runAsUser": 1}}}),
                "spec.securityContext.$retainKeys: is a list of all fields to keep",
            ),
        ] {
            assert_eq!(merged(object.clone(), patch).unwrap_err(), told);
        }
    }
}
