//! Files with mistakes, and what is said about each. The snapshots are to be read as their users
//! would: does it say what is wrong, where, why, and what to do?

use super::*;

/// What is said about each of `cases`.
fn said(cases: &[(&str, &str)]) -> String {
    let said = cases.iter().map(|(title, text)| match parse(text, &[("URL", "hunter2")]) {
        Ok(pipeline) => {
            let warnings = render(&pipeline.warnings, FILE_NAME, &pipeline.text);
            assert!(!warnings.is_empty(), "{title}: nothing is wrong with it");
            format!("# {title}\n{warnings}")
        }
        Err(error) => format!("# {title}\n{error}\n"),
    });
    said.collect::<Vec<_>>().join("\n")
}

/// A file with a sound beginning, and `rest`.
macro_rules! file {
    ($rest:literal) => {
        concat!("name: demo\nsources:\n  bids: {type: nexmark, table: bid}\n", $rest)
    };
}

/// A file with one source, which is a CSV file, and `rest` of its settings.
macro_rules! csv {
    ($rest:literal) => {
        concat!(
            "name: demo\nviews: {all_rows: SELECT * FROM flights}\nsources:\n  flights:\n",
            "    type: file\n    path: flights.csv\n",
            $rest
        )
    };
}

#[test]
fn syntax() {
    let said = said(&[
        ("tabs", "name: demo\nsources:\n\tflights:\n\t\ttype: file\n"),
        ("a tab in a block", file!("views:\n  v: |\n\tSELECT 1\n")),
        ("a colon in SQL", file!("views:\n  v: SELECT 'a: b' AS text FROM bids\n")),
        ("a colon missing", "name: demo\nsources\n  flights:\n    type: file\n"),
        ("a colon missing at the end", "name demo\nsources: {}\n"),
        ("a space missing", "name: demo\nsources:\n  flights:\n    path:x.csv\n    type: file\n"),
        (
            "deeper than the line above",
            "name: demo\nsources:\n  flights:\n    type: file\n     path: x\n",
        ),
        ("between two levels", "name: demo\nsources:\n  flights:\n    type: file\n   path: x\n"),
        ("an open quote", "name: \"demo\nsources: {}\n"),
        ("text behind a quote", "name: 'it's mine'\nsources: {}\n"),
        (
            "an escape that is none",
            csv!("    format: csv\n    csv: {null_values: [\"\\N\", \"\\d\"]}\n"),
        ),
        ("an open list", file!("views: {}\nsinks:\n  out: {type: console, from: [bids\nrun: {}\n")),
        ("an open mapping", file!("sinks:\n  out: {type: console, from: bids\nrun: {}\n")),
        ("a bracket too many", csv!("    primary_key: [id]]\n")),
        (
            "a glob without quotes",
            "name: demo\nsources:\n  flights:\n    type: file\n    path: *.csv\n",
        ),
        ("a value that starts with a sign", "name: @home\n"),
        ("a delimiter without quotes", csv!("    format: csv\n    csv:\n      delimiter: ,\n")),
        (
            "a reference in brackets",
            file!("sinks:\n  web: {type: http, from: bids, url: ${URL}}\n"),
        ),
        ("a list beside its key", csv!("    primary_key: - id\n")),
        ("a list item among keys", file!("sinks:\n  a: {type: console, from: bids}\n  - b\n")),
        (
            "a key among list items",
            csv!("    primary_key:\n      - id\n      name\n    - x\n      b: c\n"),
        ),
        (
            "a comment in a value",
            file!(
                "views:\n  v: SELECT price\n    FROM bids\n    # only big ones\n    WHERE price > 100\n"
            ),
        ),
        ("an anchor", "name: &n demo\nsources: {}\n"),
        ("an alias", "name: &n demo\nsources: *n\n"),
        ("a tag", "name: !!str 5\n"),
        ("two documents", file!("---\nname: other\n")),
        ("a key twice", file!("views: {v: SELECT 1}\nviews: {w: SELECT 2}\n")),
        ("a mapping as a key", "{{name}}: demo\n"),
        ("an unprintable character", "name: de\u{7}mo\n"),
        ("nothing", ""),
        ("only comments", "# nothing yet\n"),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn structure() {
    let said = said(&[
        ("an unknown key", csv!("    fromat: csv\n")),
        (
            "a key in another spelling",
            csv!("    format: csv\n    primaryKey: [id]\n    eventTime: {column: at}\n"),
        ),
        ("a key of a level below", csv!("    format: csv\n    delimiter: ;\n")),
        ("a key of `run`", file!("views: {v: SELECT 1}\nworkers: 4\nmax_rows: 10\n")),
        (
            "a key of another type",
            file!("sinks:\n  web: {type: console, from: bids, url: 'http://x'}\n"),
        ),
        ("a key that is nowhere", file!("views: {v: SELECT 1}\ncolour: red\n")),
        (
            "a key of another type, and more",
            file!("sinks:\n  web: {type: console, from: bids, path: x, mod: changes}\n"),
        ),
        ("a merge key", file!("views:\n  v:\n    sql: SELECT 1\n    <<: x\n")),
        ("keys missing", "name: demo\nsources:\n  flights:\n    type: file\n"),
        ("nothing but a view", "views: {v: SELECT 1}\n"),
        ("no type", "name: demo\nsources:\n  flights:\n    path: a.csv\n    format: csv\n"),
        ("a type misspelled", "name: demo\nsources:\n  flights:\n    typ: file\n    path: a.csv\n"),
        ("an unknown type", file!("sinks:\n  out: {type: kafka, from: bids}\n")),
        ("a choice that is none", csv!("    format: cvs\n    on_error: ignore\n")),
        ("a choice in capitals", csv!("    format: CSV\n")),
        (
            "text for a number",
            file!("views: {v: SELECT 1}\nrun: {workers: many, epoch: {max_rows: 65_536}}\n"),
        ),
        ("a number that is not whole", file!("views: {v: SELECT 1}\nrun: {workers: 1.5}\n")),
        (
            "a number out of range",
            file!("views: {v: SELECT 1}\nrun: {workers: 0, epoch: {max_rows: 0}}\n"),
        ),
        ("yes for true", csv!("    format: csv\n    follow: yes\n    csv: {header: maybe}\n")),
        (
            "a number for text",
            "name: 2026\nsources:\n  bids: {type: nexmark, table: bid}\nviews: {v: SELECT 1}\n",
        ),
        ("a bad duration", file!("views: {v: SELECT 1}\nrun: {epoch: {max_delay: 5}}\n")),
        (
            "a duration in words",
            csv!("    format: csv\n    event_time: {column: at, lateness: 10 minutes}\n"),
        ),
        ("a bad size", file!("views: {v: SELECT 1}\nrun: {memory_limit: 4G}\n")),
        ("a size that is none", file!("views: {v: SELECT 1}\nrun: {memory_limit: lots}\n")),
        ("text for a list", csv!("    format: csv\n    primary_key: id\n")),
        ("a list for keys", "name: demo\nsources:\n  - bids: {type: nexmark, table: bid}\n"),
        (
            "keys for a list",
            file!("views: {v: SELECT 1}\nalerts:\n  a: {when: SELECT 1, notify: {type: log}}\n"),
        ),
        ("text for keys", "name: demo\nsources: flights.csv\n"),
        ("a list for a view", file!("views:\n  v: [SELECT 1]\n")),
        ("a number for a view", file!("views:\n  v: 1\n")),
        ("a view without SQL", file!("views:\n  v:\n")),
        ("a view with settings only", file!("views:\n  v: {emit: finally}\n")),
        ("a key without a value", csv!("    format:\n")),
        ("sources without any", "name: demo\nsources:\nviews: {v: SELECT 1}\n"),
        ("a delimiter of two characters", csv!("    format: csv\n    csv: {delimiter: '||'}\n")),
        ("a delimiter that YAML took", csv!("    format: csv\n    csv:\n      delimiter: |\n")),
        (
            "rows that are none",
            file!("views: {v: SELECT 1}\ntests:\n  - name: t\n    expect: {v: {a: 1}}\n"),
        ),
        ("the file is a list", "- name: demo\n"),
        ("the file is text", "demo\n"),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn meaning() {
    let said = said(&[
        (
            "a sink of nothing",
            file!("views: {delays: SELECT 1}\nsinks:\n  out: {type: console, from: dealys}\n"),
        ),
        ("a sink of something else", file!("sinks:\n  out: {type: console, from: everything}\n")),
        ("a name with a dash", file!("views: {top-bids: SELECT 1, 2nd: SELECT 2}\n")),
        ("a name in capitals", file!("views: {TopBids: SELECT 1}\n")),
        ("a name twice", file!("views: {bids: SELECT 1}\n")),
        ("no sources", "name: demo\nsources: {}\nviews: {v: SELECT 1}\n"),
        ("nothing to do", file!("")),
        (
            "an empty name",
            "name: ''\nsources: {bids: {type: nexmark, table: bid}}\nviews: {v: ''}\n",
        ),
        (
            "unknown SQL types",
            csv!("    format: csv\n    columns: {a: BIGNIT, b: DECIMAL(50), c: money}\n"),
        ),
        ("csv settings for json", csv!("    format: json\n    csv: {header: false}\n")),
        ("a delimiter that cannot be", csv!("    format: csv\n    csv: {delimiter: '→'}\n")),
        ("replay without event time", csv!("    format: csv\n    replay: {speed: 60}\n")),
        (
            "replay and follow",
            csv!(
                "    format: csv\n    event_time: {column: at}\n    follow: true\n    replay: {speed: 0, from: yesterday}\n"
            ),
        ),
        (
            "a reference to what grows",
            csv!("    format: csv\n    follow: true\n    journal: reference\n"),
        ),
        ("a reference to row groups", csv!("    format: parquet\n    journal: reference\n")),
        (
            "event time that is none",
            csv!("    format: csv\n    columns: {at: TEXT}\n    event_time: {column: at}\n"),
        ),
        (
            "http without columns",
            "name: demo\nsources:\n  events: {type: http}\nviews: {v: SELECT 1}\n",
        ),
        (
            "http with other columns",
            "name: demo\nsources:\n  events:\n    type: http\n    columns: {id: BIGINT, at: TIMESTAMP}\n    primary_key: [idd]\n    event_time: {column: time}\nviews: {v: SELECT 1}\n",
        ),
        (
            "URLs that are none",
            file!(
                "sinks:\n  web: {type: http, from: bids, url: example.com/hook}\n  two: {type: http, from: bids, url: \"${URL}\"}\n"
            ),
        ),
        (
            "never trying",
            file!(
                "sinks:\n  web: {type: http, from: bids, url: 'http://x', retry: {max_attempts: 0}}\n"
            ),
        ),
        (
            "two sinks in one file",
            file!(
                "sinks:\n  a: {type: file, from: bids, path: out/x.json, format: json}\n  b: {type: file, from: bids, path: ./out/x.json, format: csv}\n"
            ),
        ),
        (
            "a sink in the input",
            csv!(
                "    format: csv\nsinks:\n  a: {type: file, from: flights, path: flights.csv, format: csv}\n"
            ),
        ),
        (
            "tests of nothing",
            file!(
                "views: {top: SELECT 1}\ntests:\n  - name: t\n    given: {bid: [], top: []}\n    expect: {topp: [], bids: []}\n  - name: u\n    expect: {}\n"
            ),
        ),
        ("an address that is none", file!("views: {v: SELECT 1}\nrun: {listen: 7373}\n")),
        (
            "an address without a port",
            file!(
                "views: {v: SELECT 1}\nrun: {listen: localhost, memory_limit: 0B, data_dir: ''}\n"
            ),
        ),
        (
            "a rate of nothing",
            "name: demo\nsources:\n  bids: {type: nexmark, table: bid, rate: 0}\nviews: {v: SELECT 1}\n",
        ),
        (
            "many at once",
            "nam: demo\nsources:\n  flights: {type: file, path: a.csv, format: cvs}\nviews:\n  v: SELECT * FROM flights\nsinks:\n  out: {type: file, from: w, path: o.json, formt: json}\n",
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn variables() {
    let said = said(&[
        (
            "not set",
            file!(
                "sinks:\n  web:\n    type: http\n    from: bids\n    url: https://${HOST}/hook?key=${KEY}\n"
            ),
        ),
        (
            "not closed",
            file!("views:\n  v: |\n    SELECT *\n    FROM bids WHERE name = '${NAME'\n"),
        ),
        ("not a name", file!("views:\n  v: SELECT '${my-var}'\n")),
        (
            "no such file",
            file!("sinks:\n  web: {type: http, from: bids, url: \"${file:secrets/url}\"}\n"),
        ),
        (
            "a value that does not fit",
            file!(
                "views: {v: SELECT 1}\nrun:\n  workers: ${URL}\n  memory_limit: ${URL}\nsinks:\n  out: {type: file, from: \"${URL}\", path: x, format: \"${URL}\"}\n"
            ),
        ),
        ("a column type", csv!("    format: csv\n    columns: {a: \"${URL}\"}\n")),
    ]);
    insta::assert_snapshot!(said);
}
