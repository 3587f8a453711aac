//! `docs/pipeline-file.md`, made from the [schema](super::schema): the reference cannot say anything
//! else than what is checked.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::schema::schema;

const INTRODUCTION: &str = "\
# Pipeline file

<!-- Made from the types: edit their comments, then run \
`UPDATE_DOCS=1 cargo test -p syncline-pipeline`. -->

`syncline.yaml` says where rows come from (`sources`), what is computed of them (`views`) and where \
the results go (`sinks`). `syncline check` shows everything that is wrong with it; `syncline schema` \
prints its JSON Schema, for editors: with the YAML extension of VS Code, put this line on top of the \
file:

```yaml
# yaml-language-server: $schema=./syncline.schema.json
```

- The file is YAML 1.2, one document, without anchors, aliases, merge keys and tags. A key may not be \
there twice.
- Names of sources, views, sinks and alerts have letters, digits and `_`, and no digit in front. \
Sources and views share one set of names; SQL reads names in small letters unless they are quoted.
- Durations have a unit: `500us`, `250ms`, `10s`, `5m`, `2h`, `7d`. Sizes have one, too: `64KiB`, \
`16MiB`, `1GiB`, or `10kB`, `5MB`, `2GB`.
- Relative paths are relative to the pipeline file.
- `${NAME}` is filled in from the environment, `${NAME:-default}` too, with a default if the variable \
is not set or empty, and `${file:path}` from a file, without the newline at its end. `$$` is a dollar \
sign. All of them work in values, not in keys. What is filled in never appears in the lock, a \
manifest, a log or an error: the reference stands there instead.
";

/// The reference of the pipeline file.
pub fn markdown() -> String {
    let mut writer = Writer { text: INTRODUCTION.to_owned(), written: HashSet::new() };
    let schema = schema();
    writer.keys("The file", 2, None, schema);
    for (name, section) in properties(schema) {
        writer.section(name, section);
    }
    writer.text
}

struct Writer {
    text: String,
    /// Mappings that have been described: those that several types share are described once.
    written: HashSet<String>,
}

impl Writer {
    /// One key of the file and everything below it.
    fn section(&mut self, name: &str, schema: &Json) {
        let (inner, suffix) = inner(schema);
        if let Some(types) = tagged(inner) {
            self.heading(2, &format!("`{name}`"));
            self.paragraph(schema);
            for (tag, branch) in types {
                let title = format!("`{name}{suffix}` with `type: {tag}`");
                self.mapping(&title, &format!("{name}{suffix}"), 3, branch);
            }
        } else if let Some(settings) = as_mapping(inner) {
            let place = format!("{name}{suffix}");
            if suffix.is_empty() {
                self.mapping(&format!("`{name}`"), &place, 2, settings);
                return;
            }
            self.heading(2, &format!("`{name}`"));
            self.paragraph(schema);
            if inner["anyOf"].is_array() {
                self.paragraph(inner);
            }
            self.mapping(&format!("`{place}`"), &place, 3, settings);
        }
    }

    /// A mapping and the mappings in it.
    fn mapping(&mut self, title: &str, place: &str, level: usize, schema: &Json) {
        let description = schema["description"].as_str();
        self.keys(title, level, description, schema);
        for (name, property) in properties(schema) {
            let (inner, suffix) = inner(property);
            let place = format!("{place}.{name}{suffix}");
            if let Some(types) = tagged(inner) {
                for (tag, branch) in types {
                    let title = format!("`{place}` with `type: {tag}`");
                    self.mapping(&title, &place, 3, branch);
                }
            } else if let Some(settings) = as_mapping(inner)
                && self.written.insert(format!("{name} {settings}"))
            {
                self.mapping(&format!("`{place}`"), &place, 3, settings);
            }
        }
    }

    fn heading(&mut self, level: usize, title: &str) {
        let _ = writeln!(self.text, "\n{} {title}", "#".repeat(level));
    }

    fn paragraph(&mut self, schema: &Json) {
        if let Some(text) = schema["description"].as_str() {
            let _ = writeln!(self.text, "\n{text}");
        }
    }

    /// The table of a mapping's keys.
    fn keys(&mut self, title: &str, level: usize, description: Option<&str>, schema: &Json) {
        self.heading(level, title);
        if let Some(text) = description {
            let _ = writeln!(self.text, "\n{text}");
        }
        if properties(schema).next().is_none() {
            return;
        }
        self.text.push_str("\n| key | value | default | |\n|---|---|---|---|\n");
        let required = schema["required"].as_array();
        for (name, property) in properties(schema) {
            let required = required.is_some_and(|names| names.iter().any(|n| n == name));
            let default = match property.get("default") {
                Some(default) => format!("`{}`", plain(default)),
                None if required => "**required**".to_owned(),
                None => String::new(),
            };
            let text = property["description"].as_str().unwrap_or_default().replace("\n\n", " ");
            let text = format!("{text}{}", choices(property));
            let line = format!("| `{name}` | {} | {default} | {} |", value(property), text.trim());
            let _ = writeln!(self.text, "{}", line.replace("|  |", "| |"));
        }
    }
}

/// A default as people write it.
fn plain(default: &Json) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match default.as_str() {
        Some(text) if !text.is_empty() && text.chars().all(word) => text.to_owned(),
        _ => default.to_string(),
    }
}

/// The keys of a mapping.
fn properties(schema: &Json) -> impl Iterator<Item = (&String, &Json)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// What a mapping of names or a list holds, and how its place is written; otherwise the schema.
fn inner(schema: &Json) -> (&Json, &'static str) {
    if schema["additionalProperties"].is_object() {
        (&schema["additionalProperties"], ".NAME")
    } else if schema["items"].is_object() {
        (&schema["items"], "[]")
    } else {
        (schema, "")
    }
}

/// The mapping that something is, or may be written as.
fn as_mapping(schema: &Json) -> Option<&Json> {
    let branches = schema["anyOf"].as_array().into_iter().flatten();
    branches.chain([schema]).find(|branch| properties(branch).next().is_some())
}

/// The kinds of something that has a `type`.
fn tagged(schema: &Json) -> Option<Vec<(&str, &Json)>> {
    let branches = schema["oneOf"].as_array()?;
    branches
        .iter()
        .map(|branch| Some((branch["properties"]["type"]["const"].as_str()?, branch)))
        .collect()
}

/// What kind of value a key has.
fn value(schema: &Json) -> String {
    if let Some(name) = schema["const"].as_str() {
        return format!("`{name}`");
    }
    if schema["oneOf"].is_array() || schema["enum"].is_array() {
        return "one of".to_owned();
    }
    let names = match &schema["type"] {
        Json::String(name) => name.as_str(),
        Json::Array(names) => names.first().and_then(Json::as_str).unwrap_or_default(),
        _ => "",
    };
    let example = schema["examples"][0].as_str();
    let value = match (names, example) {
        ("string", Some(example)) if example.ends_with('s') => "duration",
        ("string", Some(_)) => "size",
        ("string", None) if schema["maxLength"] == 1 => "character",
        ("string", None) => "text",
        ("integer", _) => "whole number",
        ("number", _) => "number",
        ("boolean", _) => "true or false",
        ("array", _) => return format!("list of {}", of(&schema["items"])),
        ("object", _) if schema["additionalProperties"].is_object() => {
            return format!("{} by name", of(&schema["additionalProperties"]));
        }
        _ => "keys",
    };
    value.to_owned()
}

/// `value` where there are several of them.
fn of(schema: &Json) -> String {
    match value(schema).as_str() {
        "text" => "text".to_owned(),
        "keys" if schema["additionalProperties"] == true => "rows".to_owned(),
        "keys" | "one of" => "settings".to_owned(),
        list if list.starts_with("list ") => list.replacen("list", "lists", 1),
        other => other.to_owned(),
    }
}

/// The names that a key can be, with what they mean.
fn choices(schema: &Json) -> String {
    let mut text = String::new();
    let branches = schema["oneOf"].as_array().into_iter().flatten();
    for branch in branches {
        if let Some(name) = branch["const"].as_str() {
            let meaning = branch["description"].as_str().unwrap_or_default();
            let _ = write!(text, "<br>`{name}`: {meaning}");
        }
    }
    let names = schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        let _ = write!(text, " {}", names.join(", "));
    }
    text
}
