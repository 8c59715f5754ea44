//! How unset fields are read and written, for all types of this crate.

use serde::{Deserialize, Deserializer};

/// True for the zero value of a type: used to leave a field out when serialising.
pub(crate) fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads an optional text, taking the empty one for "not given", as Contour does.
///
/// # Errors
/// Returns the deserialiser's error when the value is neither a text nor null.
pub(crate) fn non_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// A number bounded by its type only, and without a `format` in the schema.
pub(crate) struct PlainInteger;

impl schemars::JsonSchema for PlainInteger {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PlainInteger".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer" })
    }
}
