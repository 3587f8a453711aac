#![allow(clippy::unwrap_used)]
use super::*;

fn expanded(from: &str) -> Result<String, String> {
    let sql = format!("SELECT * FROM {from}");
    let mut parsed = Parser::parse_sql(&GenericDialect {}, &sql).unwrap();
    let mut statement = parsed.pop().unwrap();
    expand(&mut statement).map(|()| statement.to_string())
}

#[test]
fn sizes_are_read_as_sql_reads_them() {
    for (size, hours) in [
        ("INTERVAL '2 hours'", 2),
        ("INTERVAL '2' HOUR", 2),
        ("INTERVAL '1 day 1 hour'", 25),
        ("INTERVAL '1 day -1 hour'", 23),
        ("'2h'", 2),
        ("'120 minutes'", 2),
        ("'7200'", 2),
    ] {
        let same = expanded(&format!("session(t, at, {size})")).unwrap();
        let expect = expanded(&format!("session(t, at, INTERVAL '{hours} hours')")).unwrap();
        assert_eq!(same, expect, "{size}");
    }
    assert!(expanded("tumble(t, at, INTERVAL '1 month')").unwrap().contains("'1 months"));
}

#[test]
fn what_is_wrong_is_said() {
    for (call, says) in [
        ("tumble(t, at)", "`tumble` is called as tumble(table, timestamp column, size)"),
        ("tumble(t, at, size => '1m')", "`tumble` is called as"),
        ("tumble(1, at, '1m')", "`1` is not the name of a table"),
        ("hop(t, at + 1, '1m', '2m')", "`at + 1` is not the name of a column"),
        ("tumble(t, at, 5)", "`5` is not a size"),
        ("tumble(t, at, '5 parsecs')", "`'5 parsecs'` is not a size"),
        ("tumble(t, at, '0s')", "the size `'0s'` is not above zero"),
        ("tumble(t, at, INTERVAL '-1 month')", "is not above zero"),
        ("hop(t, at, '1m')", "`hop` is called as hop(table, timestamp column, slide, size)"),
        ("hop(t, at, '0s', '5m')", "the slide `'0s'` is not above zero"),
        ("hop(t, at, '1m', INTERVAL '-5 minutes')", "is not above zero"),
        ("hop(t, at, '1m', INTERVAL '1 month')", "has months, which differ in length"),
        ("hop(t, at, '1s', '1d')", "a row would be in 86400 windows, and 10000 are the most"),
        ("session(t, at)", "`session` is called as session(table, timestamp column, gap"),
        ("session(t, at, '0s', k)", "the gap `'0s'` is not above zero"),
        ("session(t, at, k, '5m')", "`k` is not a gap"),
    ] {
        let wrong = expanded(call).unwrap_err();
        assert!(wrong.contains(says), "{call}: {wrong}");
    }
}

#[test]
fn other_functions_are_left_alone() {
    let sql = "generate_series(1, 3)";
    assert_eq!(expanded(sql).unwrap(), format!("SELECT * FROM {sql}"));
}
