//! Checks a file's tree against the [JSON Schema](super::schema) and makes JSON of it. Everything
//! that is wrong is found in one go: what cannot be taken is left out, and the rest goes on.

use serde_json::{Map, Value as Json};

use super::nearest::{any_of, nearest};
use super::problem::Problem;
use super::tree::{Entry, Meaning, Node, Scalar, Span, Value, child};
use super::unit::Unit;

/// What was taken from the tree.
pub(super) struct Checked {
    pub(super) json: Json,
    pub(super) problems: Vec<Problem>,
}

/// Checks `root` against `schema`.
pub(super) fn validate(root: &Node, schema: &Json) -> Checked {
    let mut validator = Validator { root: schema, problems: Vec::new() };
    let place = Place { path: "", name: "", key: Span::START };
    let json = validator.value(root, schema, place).unwrap_or_default();
    Checked { json, problems: validator.problems }
}

/// Where a value stands: its path, and the key it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    /// The key's own name.
    pub(super) name: &'a str,
    pub(super) key: Span,
}

struct Validator<'a> {
    root: &'a Json,
    problems: Vec<Problem>,
}

impl Validator<'_> {
    fn value(&mut self, node: &Node, schema: &Json, place: Place<'_>) -> Option<Json> {
        if matches!(&node.value, Value::Scalar(scalar) if scalar.unknown) {
            return None;
        }
        if let Some(branches) = branches(schema, "oneOf") {
            return match constants(branches) {
                Some(choices) => self.choice(node, &choices, place),
                None => self.tagged(node, branches, place),
            };
        }
        if let Some(branches) = branches(schema, "anyOf") {
            return self.either(node, branches, place);
        }
        if let Some(names) = schema["enum"].as_array() {
            let choices: Vec<&str> = names.iter().filter_map(Json::as_str).collect();
            return self.choice(node, &choices, place);
        }
        match (type_of(schema), &node.value) {
            (None, _) => Some(node.to_json()),
            (Some("object"), Value::Map(entries)) => self.map(entries, schema, place),
            (Some("array"), Value::List(items)) => Some(self.list(items, schema, place)),
            (Some("string"), Value::Scalar(scalar)) => self.text(node, scalar, schema, place),
            (Some("integer" | "number"), Value::Scalar(scalar)) => {
                self.number(node, scalar, schema, place)
            }
            (Some("boolean"), Value::Scalar(scalar)) => self.boolean(node, scalar, place),
            (Some(_), _) => self.mismatch(node, schema, place),
        }
    }

    fn report(&mut self, problem: Problem) -> Option<Json> {
        self.problems.push(problem);
        None
    }

    fn list(&mut self, items: &[Node], schema: &Json, place: Place<'_>) -> Json {
        let taken = items.iter().enumerate().filter_map(|(i, item)| {
            let path = format!("{}[{i}]", place.path);
            let here = Place { path: &path, name: &path, key: item.span };
            self.value(item, &schema["items"], here)
        });
        Json::Array(taken.collect())
    }

    fn map(&mut self, entries: &[Entry], schema: &Json, place: Place<'_>) -> Option<Json> {
        let mut taken = Map::new();
        let properties = schema["properties"].as_object();
        for entry in entries {
            let path = child(place.path, &entry.key);
            let here = Place { path: &path, name: &entry.key, key: entry.key_span };
            let known = properties.and_then(|known| known.get_key_value(&entry.key));
            let (name, property) = match (known, &schema["additionalProperties"]) {
                (Some((name, property)), _) => (name.as_str(), property),
                (None, Json::Object(_) | Json::Bool(true)) => {
                    (entry.key.as_str(), &schema["additionalProperties"])
                }
                (None, _) => {
                    let Some(meant) = self.unknown_key(entry, entries, schema, here) else {
                        continue;
                    };
                    // What it most likely means is checked on, so that nothing counts as missing.
                    (meant, &schema["properties"][meant])
                }
            };
            if entry.value.is_null() && may_be_null(property) {
                continue;
            }
            if let Some(value) = self.value(&entry.value, property, here) {
                taken.insert(name.to_owned(), value);
            }
        }
        self.missing_keys(entries, &taken, schema, place);
        Some(Json::Object(taken))
    }

    fn missing_keys(
        &mut self,
        entries: &[Entry],
        taken: &Map<String, Json>,
        schema: &Json,
        place: Place<'_>,
    ) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            // Whatever stands there and was not taken has been complained about.
            if taken.contains_key(name) || entries.iter().any(|entry| entry.key == name) {
                continue;
            }
            let owner = if place.path.is_empty() { "the file" } else { place.path };
            let owner = if owner == place.path { format!("`{owner}`") } else { owner.to_owned() };
            let mut problem =
                Problem::at(place.key, place.path, format!("{owner} has no `{name}`"))
                    .label(format!("add `{name}:`"));
            if let Some(hint) = describe(name, &schema["properties"][name]) {
                problem = problem.hint(hint);
            }
            self.problems.push(problem);
        }
    }

    /// Complains about a key that does not belong there; the key that was probably meant, if it is
    /// not there as well.
    fn unknown_key<'s>(
        &mut self,
        entry: &Entry,
        entries: &[Entry],
        schema: &'s Json,
        place: Place<'_>,
    ) -> Option<&'s str> {
        let properties = schema["properties"].as_object()?;
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        let problem =
            Problem::at(entry.key_span, place.path, format!("unknown key `{}`", entry.key));
        if entry.key == "<<" {
            self.report(problem.hint("pipeline files have no merge keys: write the keys here"));
            return None;
        }
        let free = names.iter().filter(|name| !entries.iter().any(|entry| entry.key == **name));
        let meant = nearest(&entry.key, free.copied());
        let problem = match (meant, self.home_of(&entry.key, properties)) {
            (Some(meant), _) => problem.label(format!("did you mean `{meant}`?")),
            (None, Some(home)) => problem.label(format!("it belongs under `{home}:`")),
            (None, None) => problem,
        };
        let hint = match names.as_slice() {
            [] => "there are no keys here".to_owned(),
            _ => format!("keys here: {}", names.join(", ")),
        };
        self.report(problem.hint(hint));
        meant
    }

    /// The key below which `name` would be right: one beside it, or one of the whole file.
    fn home_of(&self, name: &str, beside: &Map<String, Json>) -> Option<String> {
        let holds = |schema: &Json| schema["properties"].get(name).is_some();
        if let Some((home, _)) = beside.iter().find(|(_, schema)| holds(schema)) {
            return Some(home.clone());
        }
        let top = self.root["properties"].as_object()?;
        if top.contains_key(name) {
            return None;
        }
        top.iter().find_map(|(home, schema)| {
            if holds(schema) {
                return Some(home.clone());
            }
            let mut below = schema["properties"].as_object()?.iter();
            below.find(|(_, schema)| holds(schema)).map(|(below, _)| format!("{home}.{below}"))
        })
    }

    /// A mapping whose `type` says which keys it has.
    fn tagged(&mut self, node: &Node, branches: &[Json], place: Place<'_>) -> Option<Json> {
        let Value::Map(entries) = &node.value else {
            return self.mismatch(node, &serde_json::json!({"type": "object"}), place);
        };
        let tag_of =
            |branch: &Json| branch["properties"]["type"]["const"].as_str().map(str::to_owned);
        let tags: Vec<String> = branches.iter().filter_map(tag_of).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let Some(tag) = node.entry("type") else {
            let said: Vec<String> = branches
                .iter()
                .filter_map(|branch| {
                    Some(format!("type: {} - {}", tag_of(branch)?, sentence(branch)?))
                })
                .collect();
            // A misspelled `type` is an unknown key and a missing one: say it once.
            let meant = entries.iter().find(|entry| nearest(&entry.key, ["type"]).is_some());
            return self.report(match meant {
                Some(entry) => {
                    let message = format!("unknown key `{}`", entry.key);
                    Problem::at(entry.key_span, &child(place.path, &entry.key), message)
                        .label("did you mean `type`?")
                }
                None => {
                    Problem::at(place.key, place.path, format!("`{}` has no `type`", place.path))
                        .label("add `type:`")
                        .hint(said.join("\n"))
                }
            });
        };
        let path = child(place.path, "type");
        let here = Place { path: &path, name: "type", key: tag.key_span };
        let chosen = self.choice(&tag.value, &tags, here)?;
        let branch =
            branches.iter().find(|branch| branch["properties"]["type"]["const"] == chosen)?;
        let first = self.problems.len();
        let taken = self.map(entries, branch, place);
        // A key of another type is no misspelling.
        for problem in &mut self.problems[first..] {
            let key = problem.path.rsplit('.').next().unwrap_or_default();
            let elsewhere = branches.iter().find(|other| other["properties"].get(key).is_some());
            let unknown = problem.message.starts_with("unknown key");
            if let (true, Some(other)) = (unknown && problem.label.is_none(), elsewhere) {
                let other = tag_of(other).unwrap_or_default();
                problem.label = Some(format!("this is a key of `type: {other}`"));
            }
        }
        taken
    }

    /// Text or a mapping: the two ways to write a view.
    fn either(&mut self, node: &Node, branches: &[Json], place: Place<'_>) -> Option<Json> {
        let wanted = if matches!(node.value, Value::Map(_)) { "object" } else { "string" };
        let branch = branches.iter().find(|branch| type_of(branch) == Some(wanted))?;
        if matches!(node.value, Value::List(_)) {
            return self.mismatch(node, branch, place);
        }
        self.value(node, branch, place)
    }

    fn choice(&mut self, node: &Node, choices: &[&str], place: Place<'_>) -> Option<Json> {
        let Value::Scalar(scalar) = &node.value else {
            return self.mismatch(node, &serde_json::json!({"type": "string"}), place);
        };
        if node.is_null() {
            return self.empty(node, place, &format!("it can be {}", any_of(choices)));
        }
        if choices.contains(&scalar.text()) {
            return Some(Json::from(scalar.text()));
        }
        let message = format!("`{}` cannot be {}", place.name, shown(scalar));
        let problem = Problem::at(node.span, place.path, message)
            .hint(format!("it can be {}", any_of(choices)));
        let meant = scalar.filled.is_none().then(|| nearest(&scalar.raw, choices.iter().copied()));
        match meant.flatten() {
            Some(meant) => self.report(problem.label(format!("did you mean `{meant}`?"))),
            None => self.report(problem),
        }
    }

    fn text(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        schema: &Json,
        place: Place<'_>,
    ) -> Option<Json> {
        let text = scalar.text();
        if let Some(unit) = Unit::of(schema) {
            return match unit.check(text) {
                Ok(()) => Some(Json::from(text)),
                Err(()) => self.report(unit.problem(node.span, scalar, place)),
            };
        }
        // What was filled in is text wherever text is wanted.
        if scalar.filled.is_none() {
            match scalar.meaning() {
                Meaning::Null => {
                    let hint =
                        "write it behind the `:`; a sign alone, such as `,`, must be in quotes";
                    return self.empty(node, place, hint);
                }
                Meaning::Bool(_) | Meaning::Number(_) | Meaning::NotFinite(_) => {
                    let message = format!("`{}` is text, and this is {}", place.name, found(node));
                    return self.report(
                        Problem::at(node.span, place.path, message)
                            .label(format!("put it in quotes: \"{text}\"")),
                    );
                }
                Meaning::Text => {}
            }
        }
        let length = text.chars().count() as u64;
        let min = schema["minLength"].as_u64().unwrap_or(0);
        let max = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        if (min..=max).contains(&length) {
            return Some(Json::from(text));
        }
        let message = match (min, max) {
            (1, 1) => format!("`{}` is one character, and this is {length}", place.name),
            _ => format!("`{}` must have {min} to {max} characters", place.name),
        };
        let problem = Problem::at(node.span, place.path, message);
        self.report(match length {
            0 => problem.label("put it in quotes: \"|\", \">\", \",\""),
            _ => problem.label("a tab is \"\\t\", in double quotes"),
        })
    }

    fn number(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        schema: &Json,
        place: Place<'_>,
    ) -> Option<Json> {
        // What was filled in is a number wherever a number is wanted, quotes or not.
        let meaning = Scalar { style: saphyr_parser::ScalarStyle::Plain, ..scalar.clone() };
        let meaning = if scalar.filled.is_some() { meaning.meaning() } else { scalar.meaning() };
        let whole = type_of(schema) == Some("integer");
        let number = match meaning {
            Meaning::Number(number) if !(whole && number.is_f64()) => number,
            _ => return self.mismatch(node, schema, place),
        };
        let value = number.as_f64().unwrap_or_default();
        let limit = |key: &str| schema[key].as_f64();
        let broken = match (limit("minimum"), limit("maximum")) {
            (Some(min), _) if value < min => Some(format!("at least {min}")),
            (_, Some(max)) if value > max => Some(format!("at most {max}")),
            _ => None,
        };
        match broken {
            None => Some(Json::Number(number)),
            Some(limit) => {
                let message =
                    format!("`{}` must be {limit}, and this is {}", place.name, shown(scalar));
                self.report(Problem::at(node.span, place.path, message))
            }
        }
    }

    fn boolean(&mut self, node: &Node, scalar: &Scalar, place: Place<'_>) -> Option<Json> {
        let value = match scalar.meaning() {
            Meaning::Bool(value) => Some(value),
            _ if scalar.filled.is_some() => scalar.text().parse().ok(),
            _ => None,
        };
        match value {
            Some(value) => Some(Json::Bool(value)),
            None => self.mismatch(node, &serde_json::json!({"type": "boolean"}), place),
        }
    }

    /// A value of the wrong kind.
    fn mismatch(&mut self, node: &Node, schema: &Json, place: Place<'_>) -> Option<Json> {
        let wanted = type_of(schema).unwrap_or_default();
        if node.is_null() {
            let hint = match wanted {
                "object" => "write its keys below it, indented",
                "array" => "write its items below it, each after `- `",
                _ => "write it behind the `:`",
            };
            return self.empty(node, place, hint);
        }
        if place.path.is_empty() {
            let message =
                format!("a pipeline file has keys with values, and this is {}", found(node));
            let problem = Problem::at(node.span, "", message);
            return self.report(problem.hint(
                "it starts like this:\nname: my-pipeline\nsources:\n  orders:\n    type: file",
            ));
        }
        let message = format!("expected {}, found {}", kind_name(wanted), found(node));
        let span = if matches!(node.value, Value::Scalar(_)) { node.span } else { place.key };
        let problem = Problem::at(span, place.path, message);
        let name = place.name;
        let problem = match (wanted, &node.value) {
            ("boolean", Value::Scalar(scalar)) => match scalar.raw.to_lowercase().as_str() {
                "yes" | "on" | "y" | "1" => problem.label("write `true`"),
                "no" | "off" | "n" | "0" => problem.label("write `false`"),
                _ => problem,
            },
            ("integer" | "number", Value::Scalar(scalar)) => match bare_number(&scalar.raw) {
                Some(number) => problem.label(format!("write `{number}`")),
                None => problem,
            },
            ("array", Value::Scalar(scalar)) => problem
                .label(format!("write `[{}]`", scalar.raw.lines().next().unwrap_or_default())),
            ("array", Value::Map(_)) => problem
                .hint(format!("a list has `- ` in front of each item:\n{name}:\n  - key: value")),
            ("object", Value::Scalar(_)) => {
                problem.hint(format!("write its keys below it, indented:\n{name}:\n  key: value"))
            }
            ("object", Value::List(_)) => problem
                .hint(format!("write keys without `- ` in front of them:\n{name}:\n  key: value")),
            ("string", Value::Map(_)) => {
                problem.hint("text with `{` or `: ` in it must be in quotes")
            }
            ("string", Value::List(_)) => problem.hint("text with `[` in it must be in quotes"),
            _ => problem,
        };
        self.report(problem)
    }

    /// A key without a value.
    fn empty(&mut self, node: &Node, place: Place<'_>, hint: &str) -> Option<Json> {
        let written = node.span.length > 1;
        let span = if written { node.span } else { place.key };
        let message = format!("`{}` has no value", place.name);
        self.report(Problem::at(span, place.path, message).hint(hint))
    }
}

fn branches<'s>(schema: &'s Json, key: &str) -> Option<&'s [Json]> {
    schema[key].as_array().map(Vec::as_slice)
}

/// The names to choose from, if all branches are names.
fn constants(branches: &[Json]) -> Option<Vec<&str>> {
    branches.iter().map(|branch| branch["const"].as_str()).collect()
}

/// The one type that is not null.
fn type_of(schema: &Json) -> Option<&str> {
    match &schema["type"] {
        Json::String(name) => Some(name),
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn may_be_null(schema: &Json) -> bool {
    schema["type"].as_array().is_some_and(|names| names.iter().any(|name| name == "null"))
}

fn kind_name(name: &str) -> &'static str {
    match name {
        "object" => "keys with values (`key: value`)",
        "array" => "a list",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "text",
    }
}

/// What stands there, without giving away what was filled in.
fn found(node: &Node) -> String {
    match &node.value {
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "keys with values".to_owned(),
        Value::Scalar(scalar) if scalar.filled.is_some() => shown(scalar),
        Value::Scalar(scalar) => match scalar.meaning() {
            Meaning::Null => "nothing".to_owned(),
            Meaning::Bool(value) => format!("`{value}`"),
            Meaning::Number(_) | Meaning::NotFinite(_) => format!("the number {}", scalar.raw),
            Meaning::Text => format!("text {}", shown(scalar)),
        },
    }
}

/// The scalar as the file has it, shortened.
pub(super) fn shown(scalar: &Scalar) -> String {
    shortened(&scalar.raw)
}

/// The beginning of a text, in backquotes.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SHOWN_MAX && line.len() == text.len() {
        return format!("`{line}`");
    }
    format!("`{}...`", line.chars().take(SHOWN_MAX).collect::<String>())
}

/// `65_536`, `65,536` and `"65536"` are numbers to people.
fn bare_number(text: &str) -> Option<String> {
    let bare: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ' | '\'')).collect();
    (!bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit())).then_some(bare)
}

/// The first sentence of a schema's description.
fn sentence(schema: &Json) -> Option<&str> {
    let text = schema["description"].as_str()?;
    Some(text.split_inclusive(". ").next().unwrap_or(text).trim_end())
}

/// A key, what it is, and what it can be.
fn describe(name: &str, schema: &Json) -> Option<String> {
    let text = sentence(schema)?;
    let choices = branches(schema, "oneOf").and_then(constants);
    let choices = choices.map(|choices| format!(" It can be {}.", any_of(&choices)));
    Some(format!("{name}: {text}{}", choices.unwrap_or_default()))
}
