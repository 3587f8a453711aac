#![allow(clippy::unwrap_used)]

use tempfile::TempDir;

use crate::decode::tests::schema;

use super::*;

fn shown(schema: &Schema) -> String {
    let columns = schema.fields().iter();
    let columns = columns.map(|f| format!("{} {}", f.name(), types::name(f.data_type())));
    columns.collect::<Vec<_>>().join("; ")
}

/// Resolves the columns of a file source with `settings`, in a folder with `data.csv`, `data.json`
/// and `empty.csv`; with `pinned` columns if there are any.
fn resolve(settings: serde_json::Value, pinned: &str) -> Result<String> {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("data.csv"), "id,at,carrier\n1,2013-02-08 10:00:00,UA\n")
        .unwrap();
    std::fs::write(dir.path().join("data.json"), "{\"id\":1,\"at\":\"2013-02-08\"}\n").unwrap();
    std::fs::write(dir.path().join("empty.csv"), "").unwrap();
    let mut config = serde_json::json!({"type": "file", "path": "data.csv", "format": "csv"});
    for (name, value) in settings.as_object().unwrap() {
        config[name] = value.clone();
    }
    let config = serde_json::from_value(config).unwrap();
    let pinned = (!pinned.is_empty()).then(|| schema(pinned));
    resolve_schema("s", &config, dir.path(), pinned.as_deref()).map(|schema| shown(&schema))
}

#[test]
fn what_is_configured_wins_over_what_is_pinned_over_what_is_found() {
    for (settings, pinned, expect) in [
        (serde_json::json!({}), "", "id BIGINT; at TIMESTAMP; carrier TEXT"),
        (serde_json::json!({"path": "*.csv"}), "", "id BIGINT; at TIMESTAMP; carrier TEXT"),
        (serde_json::json!({"columns": {"id": "TEXT"}}), "", "id TEXT; at TIMESTAMP; carrier TEXT"),
        (serde_json::json!({}), "id INT", "id INT"),
        (serde_json::json!({"path": "gone.csv"}), "id INT", "id INT"),
        (serde_json::json!({"columns": {"id": "TEXT", "x": "INT"}}), "id INT", "id TEXT; x INT"),
        (
            serde_json::json!({"path": "data.json", "format": "json", "columns": {"x": "INT"}}),
            "",
            "id BIGINT; at DATE; x INT",
        ),
        (serde_json::json!({"path": "gone.csv", "columns": {"x": "INT"}}), "", "x INT"),
        (
            serde_json::json!({"csv": {"header": false}, "columns": {"b": "TEXT", "a": "TEXT"}}),
            "",
            "b TEXT; a TEXT",
        ),
        (
            serde_json::json!({"event_time": {"column": "at"}, "primary_key": ["id"]}),
            "id INT; at DATE",
            "id INT; at DATE",
        ),
    ] {
        assert_eq!(resolve(settings.clone(), pinned).unwrap(), expect, "{settings}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    for (settings, message, hint) in [
        (
            serde_json::json!({"columns": {"carier": "TEXT"}}),
            "source `s`: `columns`: the data has no column `carier`",
            "did you mean `carrier`?",
        ),
        (
            serde_json::json!({"primary_key": ["ids"]}),
            "source `s`: `primary_key`: there is no column `ids`",
            "did you mean `id`?",
        ),
        (
            serde_json::json!({"event_time": {"column": "id"}}),
            "source `s`: `event_time`: column `id` is BIGINT, not a time",
            "if it can be read as one, say so: columns: {id: TIMESTAMP}",
        ),
        (
            serde_json::json!({"event_time": {"column": "when"}}),
            "source `s`: `event_time`: there is no column `when`",
            "there are id, at, carrier",
        ),
        (
            serde_json::json!({"path": "empty.csv"}),
            "source `s`: there is nothing yet to tell the columns from",
            "check `path`, which is relative to the pipeline file; or name the columns: \
             columns: {id: BIGINT, name: TEXT}",
        ),
    ] {
        let error = resolve(settings, "").unwrap_err();
        assert_eq!(error.message(), message);
        assert_eq!(error.hint_text(), Some(hint));
    }
    assert!(resolve(serde_json::json!({"columns": {"id": "BIGNIT"}}), "").is_err());
}
