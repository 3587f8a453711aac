#![allow(clippy::unwrap_used)]

use super::*;

fn vars(pairs: &[(&str, &str)]) -> Vars {
    Vars::only(
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    )
}

fn fill(text: &str, vars: &Vars) -> (Option<String>, Vec<String>, Secrets) {
    let mut secrets = Secrets::default();
    let (filled, wrong) = vars.fill(text, Path::new("."), &mut secrets);
    (filled, wrong.into_iter().map(|wrong| wrong.message).collect(), secrets)
}

#[test]
fn references_are_filled_in() {
    let vars = vars(&[("HOST", "db.example"), ("EMPTY", ""), ("_a1", "x")]);
    for (text, expected) in [
        ("https://${HOST}/x", "https://db.example/x"),
        ("${HOST}${_a1}", "db.examplex"),
        ("${MISSING:-a default: with {signs}", "a default: with {signs"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${MISSING:-}", ""),
        ("$${HOST}", "${HOST}"),
        ("$$$${HOST}", "$${HOST}"),
        ("'^a$' $1 $", "'^a$' $1 $"),
        ("ünïcödé ${_a1} 日本", "ünïcödé x 日本"),
    ] {
        let (filled, wrong, _) = fill(text, &vars);
        assert_eq!(filled.as_deref(), Some(expected), "{text}");
        assert_eq!(wrong, Vec::<String>::new(), "{text}");
    }
    assert_eq!(fill("no reference", &vars).0, None);
}

#[test]
fn what_cannot_be_filled_in_is_a_problem() {
    let vars = vars(&[]);
    for (text, message) in [
        ("${MISSING}", "the environment variable `MISSING` is not set"),
        ("${MISSING", "a `}` is missing after `${`"),
        ("${my-var}", "`my-var` cannot be the name of an environment variable"),
        ("${}", "`` cannot be the name of an environment variable"),
        ("${file:no/such/file}", "the file `no/such/file` cannot be read"),
    ] {
        assert_eq!(fill(text, &vars).1, [message], "{text}");
    }
    assert_eq!(fill("${A} and ${B}", &vars).1.len(), 2);
}

#[test]
fn files_are_taken_in_without_their_last_newline() {
    let dir = tempfile::tempdir().unwrap();
    for (content, expected) in [("s3cret\n", "s3cret"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", "")]
    {
        std::fs::write(dir.path().join("token"), content).unwrap();
        let mut secrets = Secrets::default();
        let (filled, wrong) = Vars::default().fill("${file:token}", dir.path(), &mut secrets);
        assert!(wrong.is_empty());
        assert_eq!(filled.unwrap(), expected);
    }
    std::fs::write(dir.path().join("token"), [0xff, 0xfe]).unwrap();
    let (_, wrong) = Vars::default().fill("${file:token}", dir.path(), &mut Secrets::default());
    assert_eq!(wrong[0].label.as_deref(), Some("it is not UTF-8 text"));
}

#[test]
fn the_environment_stands_behind_what_is_given() {
    // Cargo sets this one for every test.
    let name = "CARGO_PKG_NAME";
    let mut secrets = Secrets::default();
    let text = format!("${{{name}}}");
    let (filled, _) = Vars::environment().fill(&text, Path::new("."), &mut secrets);
    assert_eq!(filled.as_deref(), Some("syncline-pipeline"));
    let given = HashMap::from([(name.to_owned(), "given".to_owned())]);
    let (filled, _) = Vars::with(given).fill(&text, Path::new("."), &mut secrets);
    assert_eq!(filled.as_deref(), Some("given"));
}

#[test]
fn secrets_are_taken_out_of_text() {
    let vars = vars(&[
        ("TOKEN", "hunter2"),
        ("LONG", "hunter2-and-more"),
        ("N", "4"),
        ("QUOTED", "a\"b\\c"),
        ("KEY", "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"),
    ]);
    let (_, wrong, secrets) = fill("${TOKEN}${LONG}${N}${QUOTED}${KEY}", &vars);
    assert!(wrong.is_empty());
    for (text, expected) in [
        ("401 for hunter2!", "401 for ${TOKEN}!"),
        ("https://u:hunter2-and-more@h/", "https://u:${LONG}@h/"),
        ("4 workers, 40 rows, v4", "${N} workers, 40 rows, v4"),
        (r#"{"auth": "a\"b\\c"}"#, r#"{"auth": "${QUOTED}"}"#),
        ("line MIIEvQIBADANBg is wrong", "line ${KEY} is wrong"),
        ("nothing to hide", "nothing to hide"),
        ("", ""),
    ] {
        assert_eq!(secrets.redact(text), expected);
    }
    assert!(!format!("{secrets:?}").contains("hunter2"));
}

#[test]
fn defaults_are_no_secrets() {
    let (_, _, secrets) = fill("${MISSING:-localhost}", &vars(&[]));
    assert!(secrets.is_empty());
    assert_eq!(secrets.redact("localhost"), "localhost");
}
