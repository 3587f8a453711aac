#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};
use syncline_change::ErrorKind;

use super::keys::tests::{PUBLIC, signer};
use super::statement::{
    CHANGES, Dependencies, Engine, Epochs, Journal, Lock, Parameters, Pipeline, Run, STATE, Source,
    Subject, digest_of, position_text,
};
use super::*;

pub(crate) const RUN: &str = "019ab8f0-5c00-7000-8000-000000000001";

pub(crate) fn statement() -> Statement {
    // A position with a hash that no double holds.
    let position = json!({"files": {"orders.csv": {"offset": 300, "head": u64::MAX}}});
    let orders = Source { rows: 8, first: None, last: Some(position_text(&position)) };
    let digest = [(STATE, "5b".repeat(32)), (CHANGES, "c4".repeat(32))];
    let digest = digest.into_iter().map(|(name, hex)| (name.to_owned(), hex)).collect();
    let run = Run {
        id: RUN.to_owned(),
        created_at_us: 1_764_115_200_000_000,
        pipeline: Pipeline { name: "shop".to_owned(), digest: digest_of(b"name: shop\n") },
        parameters: Parameters {
            lock: Lock { digest: digest_of(b"format: 1\n"), semantics: 2, seed: u64::MAX },
            epochs: Epochs {
                first: 1,
                last: 2,
                first_time_us: 1_764_115_100_000_000,
                last_time_us: 1_764_115_100_500_000,
            },
            sources: [("orders".to_owned(), orders)].into(),
        },
        dependencies: Dependencies {
            journal: Journal { root: "10".repeat(32), chain_head: "ed".repeat(32) },
            engine: Engine { version: "0.1.0".to_owned(), semantics: 2 },
        },
    };
    Statement::new(vec![Subject { name: "cities".to_owned(), digest }], run)
}

fn manifest() -> Manifest {
    Manifest::seal(&statement(), Some(&signer())).unwrap()
}

/// A signed envelope around any text.
fn sealed(payload: &str) -> Manifest {
    let mut envelope = Envelope::new(statement::PAYLOAD_TYPE, payload.as_bytes());
    envelope.sign(&signer()).unwrap();
    Manifest { envelope }
}

#[test]
fn a_manifest_says_what_was_signed() {
    let manifest = manifest();
    let read = Manifest::parse(&manifest.to_text().unwrap()).unwrap();
    assert_eq!(read, manifest);
    assert!(read.is_signed());
    assert_eq!(read.verify(&PublicKey::from_pem(PUBLIC).unwrap()).unwrap(), statement());
    assert_eq!(read.unverified().unwrap(), statement());
}

#[test]
fn the_statement_is_one_of_in_toto() {
    let payload = statement().to_payload().unwrap();
    let value: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(value["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(value["predicateType"], "urn:syncline:run:v1");
    assert_eq!(value["subject"][0]["name"], "cities");
    assert_eq!(value["subject"][0]["digest"]["lthash16"], "5b".repeat(32));
    assert_eq!(value["predicate"]["parameters"]["lock"]["seed"], u64::MAX.to_string());
    assert_eq!(value["predicate"]["createdAtUs"], 1_764_115_200_000_000_i64);
    // Keys are sorted, without spaces.
    assert!(payload.starts_with(br#"{"_type":"#), "{value}");
}

#[test]
fn no_flipped_bit_of_payload_or_signature_passes() {
    let key = signer().public();
    let text: Value = serde_json::from_slice(&manifest().to_text().unwrap()).unwrap();
    let decode = |text: &Value| dsse::tests::decoded(text.as_str().unwrap());
    let payload = decode(&text["payload"]);
    for at in 0..payload.len() * 8 {
        let mut flipped = payload.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let mut altered = text.clone();
        altered["payload"] = dsse::tests::encoded(&flipped).into();
        let altered = Manifest::parse(altered.to_string().as_bytes()).unwrap();
        let error = altered.verify(&key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {at}");
        assert!(error.message().ends_with("does not fit the manifest"), "bit {at}: {error}");
    }
    let signature = decode(&text["signatures"][0]["sig"]);
    assert_eq!(signature.len(), 64);
    for at in 0..64 * 8 {
        let mut flipped = signature.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let mut altered = text.clone();
        altered["signatures"][0]["sig"] = dsse::tests::encoded(&flipped).into();
        let altered = Manifest::parse(altered.to_string().as_bytes()).unwrap();
        let error = altered.verify(&key).unwrap_err();
        assert!(error.message().ends_with("does not fit the manifest"), "bit {at}: {error}");
    }
}

#[test]
fn no_altered_file_says_something_else() {
    let key = signer().public();
    let text = manifest().to_text().unwrap();
    let mut refused = 0;
    for at in 0..text.len() {
        for bit in [0x01, 0x04, 0x20] {
            let mut altered = text.clone();
            altered[at] ^= bit;
            match Manifest::parse(&altered).and_then(|manifest| manifest.verify(&key)) {
                // Bytes of the key id, which only says where to look.
                Ok(read) => assert_eq!(read, statement(), "{at}"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > text.len() * 2, "{refused}");
}

#[test]
fn no_altered_key_passes() {
    for at in 0..PUBLIC.len() {
        let mut altered = PUBLIC.as_bytes().to_vec();
        altered[at] ^= 1;
        let altered = String::from_utf8(altered).unwrap();
        let Ok(key) = PublicKey::from_pem(&altered) else { continue };
        match manifest().verify(&key) {
            // Where a line of the file ends does not matter.
            Ok(_) => assert_eq!(key, signer().public(), "{at}"),
            Err(error) => {
                assert_eq!(error.message(), "the manifest is signed with another key", "{at}");
            }
        }
    }
}

#[test]
fn an_unsigned_manifest_is_read_as_that() {
    let manifest = Manifest::seal(&statement(), None).unwrap();
    let read = Manifest::parse(&manifest.to_text().unwrap()).unwrap();
    assert!(!read.is_signed());
    assert_eq!(read.unverified().unwrap(), statement());
    let error = read.verify(&signer().public()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Input, "the manifest is not signed"));
}

#[test]
fn what_is_signed_must_be_canonical_and_about_a_run() {
    let payload = String::from_utf8(statement().to_payload().unwrap()).unwrap();
    let not_canonical = "the manifest is not in canonical form";
    let other_kind = "the manifest is a statement of another kind";
    let no_statement = "the manifest carries no statement about a run";
    let cases = [
        (payload.replacen(':', ": ", 1), ErrorKind::Corrupt, not_canonical),
        (payload.replacen("\"last\":2", "\"last\":2.0", 1), ErrorKind::Corrupt, not_canonical),
        (
            payload.replacen("\"last\":2", "\"last\":1,\"last\":2", 1),
            ErrorKind::Corrupt,
            not_canonical,
        ),
        (payload.replacen("cities", "\\u0063ities", 1), ErrorKind::Corrupt, not_canonical),
        (
            payload.replacen("\"rows\":8", "\"rows\":9007199254740993", 1),
            ErrorKind::Corrupt,
            not_canonical,
        ),
        (payload.replacen("run:v1", "run:v2", 1), ErrorKind::Unsupported, other_kind),
        (payload.replacen("Statement/v1", "Statement/v2", 1), ErrorKind::Unsupported, other_kind),
        (payload.replacen("\"rows\":8", "\"rows\":\"8\"", 1), ErrorKind::Corrupt, no_statement),
        (payload.replacen("\"chainHead\"", "\"chainTail\"", 1), ErrorKind::Corrupt, no_statement),
        ("{}".to_owned(), ErrorKind::Corrupt, no_statement),
        (String::new(), ErrorKind::Corrupt, no_statement),
    ];
    for (text, kind, message) in cases {
        assert_ne!(text, payload);
        let manifest = sealed(&text);
        let errors = [manifest.verify(&signer().public()), manifest.unverified()];
        for error in errors.map(Result::unwrap_err) {
            assert_eq!((error.kind(), error.message()), (kind, message), "{text}");
        }
    }
    // What a later version of the same kind adds.
    let later = payload.replacen("\"dependencies\"", "\"deadLetters\":3,\"dependencies\"", 1);
    assert_eq!(sealed(&later).verify(&signer().public()).unwrap(), statement());
}

#[test]
fn numbers_that_would_be_rounded_are_not_signed() {
    let mut statement = statement();
    statement.predicate.parameters.epochs.last_time_us = (1 << 53) + 1;
    let error = Manifest::seal(&statement, Some(&signer())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);
}

#[test]
fn manifests_are_kept_by_run() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    assert_eq!(list(&data).unwrap(), Vec::<String>::new());
    assert_eq!(newest(&data).unwrap(), None);
    assert_eq!(read(&data, RUN).unwrap(), None);
    let mut runs = Vec::new();
    for second in [1_700_000_000, 1_700_000_001, 1_800_000_000] {
        let mut statement = statement();
        statement.predicate.id = new_run_id(second * 1_000_000).unwrap();
        runs.push(statement.predicate.id.clone());
        let signer = (second % 2 == 1).then(signer);
        let manifest = Manifest::seal(&statement, signer.as_ref()).unwrap();
        write(&data, &manifest).unwrap();
        assert_eq!(read(&data, &statement.predicate.id).unwrap(), Some(manifest.clone()));
        assert_eq!(newest(&data).unwrap(), Some(manifest));
    }
    std::fs::write(dir.path().join("manifests/notes.txt"), "not one").unwrap();
    assert_eq!(list(&data).unwrap(), runs);

    let path = |run: &str| dir.path().join(format!("manifests/{run}.json"));
    std::fs::copy(path(&runs[0]), path("other")).unwrap();
    let error = read(&data, "other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().ends_with("other.json is the manifest of another run"), "{error}");
    std::fs::write(path("other"), "{").unwrap();
    let error = read(&data, "other").unwrap_err();
    assert!(error.message().contains("manifests/other.json: this is no"), "{error}");
    assert_eq!(read(&data, "../other").unwrap_err().kind(), ErrorKind::Config);
    drop(data);
    let read_only = DataDir::open_read(dir.path()).unwrap();
    assert_eq!(write(&read_only, &manifest()).unwrap_err().kind(), ErrorKind::Bug);
}

#[test]
fn run_ids_are_uuids_that_sort_by_time() {
    // The time of the example in RFC 9562, A.6.
    let early = new_run_id(1_645_557_742_000_999).unwrap();
    assert!(early.starts_with("017f22e2-79b0-7"), "{early}");
    assert_ne!(early, new_run_id(1_645_557_742_000_999).unwrap());
    let late = new_run_id(1_645_557_742_001_000).unwrap();
    assert!(early < late, "{early} {late}");
    let lengths: Vec<usize> = early.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert!(matches!(&early[19..20], "8" | "9" | "a" | "b"), "{early}");
    new_run_id(i64::MIN).unwrap();
    new_run_id(i64::MAX).unwrap();
}
