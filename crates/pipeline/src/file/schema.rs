//! The JSON Schema of the pipeline file: what editors complete and check by, and what
//! [`validate`](super::validate) checks by. It is made from the types in [`spec`](super::spec) and
//! in `syncline_connect`, so that there is one description of the file.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::spec::PipelineSpec;

/// JSON Schema (draft 2020-12) of the pipeline file, without references: each `type` of a source or
/// sink is one object that names all of its keys and allows no other.
pub fn json_schema() -> Value {
    schema().clone()
}

pub(super) fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let mut schema =
            settings.into_generator().into_root_schema_for::<PipelineSpec>().to_value();
        tidy(&mut schema);
        schema
    });
    &SCHEMA
}

/// Makes the schema say what the file may hold rather than how the types hold it.
fn tidy(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    if let Some(Value::String(text)) = object.get_mut("description") {
        // Paragraphs stay; the line breaks of the source go.
        let paragraphs: Vec<_> = text.split("\n\n").map(|p| p.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
    replace_format(object);
    // Empty defaults say nothing, and those of mappings stand at their keys.
    if object.get("default").is_some_and(|default| {
        default.is_null() || default.is_object() || default.as_array().is_some_and(Vec::is_empty)
    }) {
        object.remove("default");
    }
    if object.contains_key("properties") && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    let required: Vec<String> = object
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties {
            tidy(property);
            set_nullable(property, !required.contains(name));
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            tidy(inner);
        }
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(Value::Array(branches)) = object.get_mut(key) {
            branches.iter_mut().for_each(tidy);
        }
    }
}

/// Rust's widths of numbers mean nothing to an editor; their limits do.
fn replace_format(object: &mut Map<String, Value>) {
    let maximum = match object.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(u64::from(u8::MAX)),
        Some("uint16") => Some(u64::from(u16::MAX)),
        Some("uint32") => Some(u64::from(u32::MAX)),
        Some("uint" | "uint64" | "int32" | "int64" | "float" | "double") => None,
        _ => return,
    };
    object.remove("format");
    if let Some(maximum) = maximum {
        object.entry("maximum").or_insert(json!(maximum));
    }
}

/// An optional mapping or list may be empty, so that everything below its key can be commented out;
/// a key with a single value may not.
fn set_nullable(property: &mut Value, optional: bool) {
    let Some(kind) = property.get_mut("type") else { return };
    let name = match &*kind {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let name = names.iter().filter_map(Value::as_str).find(|name| *name != "null");
            name.unwrap_or("null").to_owned()
        }
        _ => return,
    };
    *kind = match name.as_str() {
        "object" | "array" if optional => json!([name, "null"]),
        _ => Value::String(name),
    };
}
