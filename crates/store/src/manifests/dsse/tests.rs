#![allow(clippy::unwrap_used)]
use syncline_change::ErrorKind;

use super::super::keys::tests::signer;
use super::*;

const TYPE: &str = "http://example.com/HelloWorld";

fn signed() -> Envelope {
    let mut envelope = Envelope::new(TYPE, b"hello world");
    envelope.sign(&signer()).unwrap();
    envelope
}

#[test]
fn the_encoding_is_that_of_the_protocol() {
    // The example in protocol.md.
    let message = pre_authentication_encoding(TYPE, b"hello world");
    assert_eq!(message, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    // Lengths are in bytes.
    assert_eq!(pre_authentication_encoding("é", b""), "DSSEv1 2 é 0 ".as_bytes());
}

#[test]
fn the_envelope_is_that_of_the_protocol() {
    let signature =
        BASE64.encode(signer().sign(&pre_authentication_encoding(TYPE, b"hello world")));
    let expected = serde_json::json!({
        "payload": "aGVsbG8gd29ybGQ=",
        "payloadType": TYPE,
        "signatures": [{"keyid": signer().public().id().unwrap(), "sig": signature}],
    });
    let text = signed().to_text().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap(), expected);
    assert_eq!(Envelope::parse(&text).unwrap(), signed());
    assert_eq!(signed().verify(TYPE, &signer().public()).unwrap(), b"hello world");
}

#[test]
fn envelopes_of_others_are_read() {
    let ours = signed();
    let sig = ours.signatures[0].sig.clone();
    let url_safe = sig.replace('+', "-").replace('/', "_");
    assert_ne!(sig, url_safe, "the example shows nothing");
    for sig in [sig.trim_end_matches('=').to_owned(), url_safe] {
        // No key id, one that others use, and what a later version adds.
        for keyid in ["", r#""keyid":"SHA256:abc","#, r#""keyid":"","extension":{},"#] {
            let text = format!(
                r#"{{"payloadType":"{TYPE}","later":1,
                    "signatures":[{{"sig":"AAAA"}},{{{keyid}"sig":"{sig}"}}],
                    "payload":"aGVsbG8gd29ybGQ"}}"#
            );
            let envelope = Envelope::parse(text.as_bytes()).unwrap();
            assert_eq!(envelope.verify(TYPE, &signer().public()).unwrap(), b"hello world");
        }
    }
}

#[test]
fn what_was_signed_as_something_else_is_refused() {
    let key = signer().public();
    let mut envelope = signed();
    envelope.payload_type = "application/json".to_owned();
    let error = envelope.verify(TYPE, &key).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.detail_text().unwrap().contains("`application/json`"), "{error}");
    // Nor does the signature hold for the type that it now has.
    let error = envelope.verify("application/json", &key).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn refusals_say_what_is_wrong() {
    let key = signer().public();
    let unsigned = Envelope::new(TYPE, b"hello world");
    assert!(!unsigned.is_signed());
    assert_eq!(unsigned.payload(TYPE).unwrap(), b"hello world");
    let error = unsigned.verify(TYPE, &key).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Input, "the manifest is not signed"));

    let other = Signer::generate().unwrap();
    let error = signed().verify(TYPE, &other.public()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(error.message(), "the manifest is signed with another key");
    for id in [key.id().unwrap(), other.public().id().unwrap()] {
        assert!(error.detail_text().unwrap().contains(&id), "{error}");
    }

    // Two have signed: either key will do.
    let mut both = signed();
    both.sign(&other).unwrap();
    for key in [&key, &other.public()] {
        both.verify(TYPE, key).unwrap();
    }
    let error = both.verify(TYPE, &Signer::generate().unwrap().public()).unwrap_err();
    assert!(error.detail_text().unwrap().contains(" and 1 more"), "{error}");

    let mut damaged = signed();
    damaged.payload.insert(3, '!');
    let error = damaged.verify(TYPE, &key).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Corrupt, "the manifest is damaged"));
    for text in ["", "{}", "[1]", r#"{"payload":"","payloadType":""}"#] {
        let error = Envelope::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.message(), "this is no signed manifest", "{text}");
    }
}

pub(crate) fn decoded(text: &str) -> Vec<u8> {
    decode(text).unwrap()
}

pub(crate) fn encoded(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
