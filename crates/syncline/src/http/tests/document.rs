//! The document that describes the API, against the router and against what is answered.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fixture::Fixture;
use crate::http::routes;

fn document(fixture: &Fixture) -> Value {
    let (status, document) = fixture.get("/api/openapi.json");
    assert_eq!(status, 200);
    document
}

#[test]
fn the_router_and_the_document_have_the_same_routes() {
    let document = document(&Fixture::start());
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
    });
    let described: BTreeSet<String> = described.collect();
    let routed: BTreeSet<String> =
        routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(described, routed);
}

#[test]
fn every_way_to_call_has_an_example_that_fits_its_schema() {
    let document = document(&Fixture::start());
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap()),
                "{path}: the id repeats"
            );
            assert!(operation["summary"].is_string() || operation["description"].is_string());
            let responses = &operation["responses"];
            assert!(responses["default"].is_object(), "{method} {path} does not tell of errors");
            let contents = responses["200"]["content"].as_object().unwrap();
            for (media_type, content) in contents {
                let example = &content["example"];
                let place = format!("{method} {path} {media_type}");
                assert!(!example.is_null(), "{place} has no example");
                check(&document, &content["schema"], example, &place);
            }
        }
    }
}

#[test]
fn what_is_answered_fits_the_document() {
    // The end of the first run leaves a checkpoint.
    let fixture = Fixture::start().restart();
    let document = document(&fixture);
    let rows = r#"[{"id": 1, "customer": "ann", "amount": 2000}, {"id": "x"}]"#;
    let (status, receipt) = fixture.post("/ingest/orders", rows);
    assert_eq!(status, 200, "{receipt}");
    fixture.wait_until("/api/v1/stats", |stats| {
        stats["alerts"]["big"]["active"] == 1 && !stats["latency"].is_null()
    });
    fixture.wait_until("/api/v1/history", |history| !history["points"][0].is_null());
    let letters = fixture.wait_until("/api/v1/dead-letters", |page| page["total"] == 1);
    let id = letters["items"][0]["id"].as_str().unwrap().to_owned();
    fixture.wait_until("/api/v1/views/totals", |view| view["total"] == 1);
    let fits = |method: &str, path: &str, status: &str, answer: &Value| {
        let response = &document["paths"][path][method]["responses"][status];
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{method} {path} {status} is not described");
        check(&document, schema, answer, &format!("{method} {path}"));
    };
    fits("post", "/ingest/{source}", "200", &receipt);
    for route in routes().iter().filter(|route| route.method == "get") {
        let content = &document["paths"][route.path]["get"]["responses"]["200"]["content"];
        if content["application/json"].is_null() {
            continue;
        }
        let path = route.path.replace("{name}", "totals").replace("{id}", &id);
        let (status, answer) = fixture.get(&path);
        assert_eq!(status, 200, "{path}");
        fits("get", route.path, "200", &answer);
    }
    fits("post", "/api/v1/verification", "200", &fixture.post("/api/v1/verification", "").1);
    let done = fixture.wait_until("/api/v1/verification", |now| now["state"] != "running");
    fits("get", "/api/v1/verification", "200", &done);
    let told = fixture.put("/api/v1/verification", done["report"].to_string());
    fits("put", "/api/v1/verification", "200", &told.1);
    let at = fixture.get("/api/v1/views/totals?at=1").1;
    fits("get", "/api/v1/views/{name}", "200", &at);
    fits("post", "/api/v1/query", "200", &fixture.query("SELECT * FROM totals").1);
    fits("post", "/api/v1/query", "400", &fixture.query("SELECT * FROM total").1);
    fits("get", "/api/v1/views/{name}", "404", &fixture.get("/api/v1/views/total").1);
    let drop = format!("/api/v1/dead-letters/{id}/drop");
    fits("post", "/api/v1/dead-letters/{id}/drop", "200", &fixture.post(&drop, "{}").1);
}

/// Checks that `value` is what `schema` says: no field is missing and none is more than described.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").unwrap();
        let found = &document["components"]["schemas"][name];
        assert!(found.is_object(), "{place}: there is no schema {name}");
        return check(document, found, value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let is_null = |schema: &Value| schema["type"] == "null";
        let Some(choice) = choices.iter().find(|choice| is_null(choice) == value.is_null()) else {
            panic!("{place}: {value} is none of {schema}");
        };
        return check(document, choice, value, place);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        // What is flattened together: the fields of all parts.
        let mut whole = json!({"type": "object", "properties": {}, "required": []});
        for part in parts {
            let name = part["$ref"].as_str().and_then(|name| name.rsplit('/').next());
            let part = name.map_or(part, |name| &document["components"]["schemas"][name]);
            for (field, schema) in part["properties"].as_object().unwrap() {
                whole["properties"][field] = schema.clone();
            }
            let required = part["required"].as_array().unwrap();
            whole["required"].as_array_mut().unwrap().extend(required.iter().cloned());
        }
        return check(document, &whole, value, place);
    }
    let is_type = |name: &str| match &schema["type"] {
        Value::String(only) => only == name,
        Value::Array(names) => names.iter().any(|known| known == name),
        _ => true,
    };
    match value {
        Value::Null => assert!(is_type("null"), "{place}: null"),
        Value::Bool(_) => assert!(is_type("boolean"), "{place}: {value}"),
        Value::Number(number) => {
            let fits = is_type("number") || (is_type("integer") && !number.is_f64());
            assert!(fits, "{place}: {value}");
        }
        Value::String(_) => assert!(is_type("string"), "{place}: {value}"),
        Value::Array(items) => {
            assert!(is_type("array"), "{place}: {value}");
            for (i, item) in items.iter().enumerate() {
                check(document, &schema["items"], item, &format!("{place}[{i}]"));
            }
        }
        Value::Object(fields) => check_object(document, schema, fields, place),
    }
}

fn check_object(
    document: &Value,
    schema: &Value,
    fields: &serde_json::Map<String, Value>,
    place: &str,
) {
    let properties = schema["properties"].as_object();
    let rest = &schema["additionalProperties"];
    if properties.is_none() && rest.is_null() {
        return;
    }
    for (name, value) in fields {
        let described = properties.and_then(|properties| properties.get(name));
        let described = described.or((!rest.is_null()).then_some(rest));
        let Some(described) = described else { panic!("{place}.{name} is not described") };
        check(document, described, value, &format!("{place}.{name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(name.as_str().unwrap()), "{place}.{name} is missing");
    }
}
