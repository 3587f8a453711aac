//! Keys, and manifests that are checked with nothing but the public one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use syncline_store::manifests::dsse::Envelope;
use syncline_store::manifests::statement::PAYLOAD_TYPE;

use crate::folder::{Done, Folder};

/// The public key in RFC 8410, 10.1, with which the manifest of the fixture is signed.
const PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
const PUBLIC_ID: &str = "776a86cf84bb6f5c5989083859f00b9c0097c99e97ee67dab8811b0b9f1c15ae";
const MANIFEST: &str =
    "../store/fixtures/format-1/manifests/019ab8f0-5c00-7000-8000-000000000001.json";

fn with_manifest() -> (Folder, String) {
    let folder = Folder::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFEST);
    let manifest = std::fs::read_to_string(path).unwrap();
    folder.write("manifest.json", &manifest);
    folder.write("public.pem", PUBLIC);
    (folder, manifest)
}

#[test]
fn a_new_key_is_shown_and_stays() {
    let folder = Folder::new();
    let made = folder.run(&["keys", "new", "--out", "a/key.pem"]).ok();
    let mode = folder.path("a/key.pem").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = folder.run(&["keys", "show", "a/key.pem"]).ok();
    assert_eq!(made, format!("wrote a/key.pem\n{shown}"));

    let pem = folder.run(&["keys", "show", "a/key.pem", "--format", "pem"]).ok();
    folder.write("public.pem", &pem);
    assert_eq!(folder.run(&["keys", "show", "public.pem"]).ok(), shown);
    let json = folder.run(&["keys", "show", "public.pem", "--format", "json"]).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["algorithm"].as_str(), json["public_key"].as_str()),
        (Some("ed25519"), Some(&*pem))
    );
    assert_eq!(shown, format!("key id {}\n{pem}", json["key_id"].as_str().unwrap()));

    let key = folder.read("a/key.pem");
    let refused = folder.run(&["keys", "new", "--out", "a/key.pem"]).fails(2);
    assert!(refused.contains("a/key.pem is there already"), "{refused}");
    assert_eq!(folder.read("a/key.pem"), key);
    // Nothing that is printed has any of the private key.
    let secret = key.lines().nth(1).unwrap();
    assert!(!(made + &shown + &refused).contains(&secret[24..]));
}

#[test]
fn without_a_name_it_is_the_key_of_the_user_or_of_the_environment() {
    let folder = Folder::new();
    let refused = folder.run(&["keys", "show"]).fails(2);
    assert!(refused.contains(".config/syncline/key.pem"), "{refused}");
    folder.run(&["keys", "new"]).ok();
    let own = folder.run(&["keys", "show"]).ok();
    assert_eq!(folder.run(&["keys", "show", ".config/syncline/key.pem"]).ok(), own);

    let run = |arguments: &[&str], key: &str| {
        Done::of(folder.command(arguments).env("SYNCLINE_KEY", key).output().unwrap())
    };
    run(&["keys", "new"], "ci.pem").ok();
    let named = run(&["keys", "show"], "ci.pem").ok();
    assert_ne!(named, own);
    assert_eq!(folder.run(&["keys", "show", "ci.pem"]).ok(), named);
    assert_eq!(run(&["keys", "show"], "").ok(), own);
}

#[test]
fn what_is_no_key_of_ours_is_refused() {
    let folder = Folder::new();
    folder.run(&["keys", "new", "--out", "key.pem"]).ok();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.path("key.pem"), open).unwrap();
    let refused = folder.run(&["keys", "show", "key.pem"]).fails(2);
    assert!(refused.contains("the private key key.pem is not private"), "{refused}");
    assert!(refused.contains("chmod 600 key.pem"), "{refused}");
    folder.write("text.pem", "-----BEGIN CERTIFICATE-----\n");
    let refused = folder.run(&["keys", "show", "text.pem"]).fails(2);
    assert!(refused.contains("text.pem: this is no public ed25519 key"), "{refused}");
}

#[test]
fn a_manifest_is_checked_with_the_public_key_alone() {
    let (folder, _) = with_manifest();
    let said = folder.run(&["keys", "verify", "manifest.json", "--key", "public.pem"]).ok();
    assert!(said.starts_with(&format!("verified: signed with key {PUBLIC_ID}\n")), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_manifest_that_does_not_verify_says_why() {
    let (folder, manifest) = with_manifest();
    let verify = |text: &str, key: &str| {
        folder.write("other.json", text);
        let done = folder.run(&["keys", "verify", "other.json", "--key", key]);
        assert_eq!(done.out, "");
        done.fails(1)
    };
    // Another number of rows.
    let envelope: Value = serde_json::from_str(&manifest).unwrap();
    let payload = Envelope::parse(manifest.as_bytes()).unwrap().payload(PAYLOAD_TYPE).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let more = payload.replace("\"rows\":8", "\"rows\":9");
    assert_ne!(more, payload);
    let unsigned = Envelope::new(PAYLOAD_TYPE, more.as_bytes()).to_text().unwrap();
    let unsigned = String::from_utf8(unsigned).unwrap();
    let mut altered: Value = serde_json::from_str(&unsigned).unwrap();
    altered["signatures"] = envelope["signatures"].clone();
    let refused = verify(&altered.to_string(), "public.pem");
    let expected =
        format!("other.json: the signature of key {PUBLIC_ID} does not fit the manifest");
    assert!(refused.contains(&expected), "{refused}");

    let refused = verify(&unsigned, "public.pem");
    assert!(refused.contains("other.json: the manifest is not signed"), "{refused}");
    folder.run(&["keys", "new", "--out", "key.pem"]).ok();
    let refused = verify(&manifest, "key.pem");
    assert!(refused.contains("other.json: the manifest is signed with another key"), "{refused}");
    let refused = verify("{}", "public.pem");
    assert!(refused.contains("other.json: this is no signed manifest"), "{refused}");
}

#[test]
fn wrong_arguments_are_told_from_wrong_manifests() {
    let (folder, _) = with_manifest();
    for arguments in [
        &["keys", "verify", "manifest.json"][..],
        &["keys", "verify", "--key", "public.pem"],
        &["keys", "verify", "gone.json", "--key", "public.pem"],
        &["keys", "verify", "manifest.json", "--key", "gone.pem"],
        &["keys", "verify", "manifest.json", "--key", "manifest.json"],
        &["keys"],
        &["keys", "show", "public.pem", "--format", "yaml"],
    ] {
        folder.run(arguments).fails(2);
    }
}

#[test]
fn a_slice_is_held_against_a_manifest_that_is_signed() {
    let folder = Folder::with_init();
    for name in ["mine", "other"] {
        let (key, public) = (format!("{name}.pem"), format!("{name}.public.pem"));
        folder.run(&["keys", "new", "--out", &key]).ok();
        folder.write(&public, &folder.run(&["keys", "show", &key, "--format", "pem"]).ok());
    }
    let mut run = folder.command(&["run", "--once"]);
    Done::of(run.env("SYNCLINE_KEY", folder.path("mine.pem")).output().unwrap()).ok();
    folder.run(&["bundle", "--from", "2", "--out", "part.bundle"]).ok();
    let done = folder.run(&["verify", "part.bundle", "--key", "mine.public.pem"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.out.contains(", signed with key "), "{}", done.out);
    let done = folder.run(&["verify", "part.bundle", "--key", "other.public.pem"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("the manifest is signed with another key"), "{}", done.out);
    assert!(done.out.ends_with("MISMATCH: 1 difference\n"), "{}", done.out);
}
