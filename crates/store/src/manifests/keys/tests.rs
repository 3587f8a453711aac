#![allow(clippy::unwrap_used)]
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use syncline_change::ErrorKind;

use super::*;

/// The key pair in RFC 8410, 10.1 and 10.3.
pub(crate) const PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
pub(crate) const PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
/// Its private key once more, with the public key and an attribute beside it.
const PRIVATE_VERSION_2: &str = "\
-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
";
/// On another curve (P-256).
const OTHER_ALGORITHM: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXKyfPRCZfA/LZuo2U3SgfZqyYbzW
UqbtYw2ZBzHBGWbsBNP1C/WO7Ojxg6yBHjvz3FyUyjnFMCGkwAE4C2WnNw==
-----END PUBLIC KEY-----
";

pub(crate) fn signer() -> Signer {
    Signer::from_pem(PRIVATE).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn signatures_are_those_of_rfc_8032() {
    // 7.1, tests 1 to 3: private key, public key, message, signature.
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (private, public, message, signature) in vectors {
        let signer = Signer { key: SigningKey::from_bytes(&hex(private).try_into().unwrap()) };
        let (message, signature) = (hex(message), hex(signature));
        assert_eq!(signer.public().key.as_bytes(), &hex(public)[..]);
        assert_eq!(signer.sign(&message), signature[..]);
        assert!(signer.public().has_signed(&message, &signature));
        assert!(!signer.public().has_signed(b"other", &signature));
        assert!(!signer.public().has_signed(&message, &signature[1..]));
    }
}

#[test]
fn keys_are_read_and_written_as_rfc_8410_has_them() {
    let public = PublicKey::from_pem(PUBLIC).unwrap();
    assert_eq!(signer().public(), public);
    assert_eq!(Signer::from_pem(PRIVATE_VERSION_2).unwrap().public(), public);
    assert_eq!(public.to_pem().unwrap(), PUBLIC);
    let dir = crate::scratch::dir();
    let path = dir.path().join("key.pem");
    signer().write_new(&path).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), PRIVATE);
    // Manifests name keys by it.
    let id = "776a86cf84bb6f5c5989083859f00b9c0097c99e97ee67dab8811b0b9f1c15ae";
    assert_eq!(public.id().unwrap(), id);
}

#[test]
fn a_new_key_is_private_and_stays() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a/b/key.pem");
    let (first, second) = (Signer::generate().unwrap(), Signer::generate().unwrap());
    assert_ne!(first.public(), second.public());
    first.write_new(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Signer::read(&path).unwrap().public(), first.public());
    assert_eq!(PublicKey::read(&path).unwrap(), first.public());

    let refused = second.write_new(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.message().ends_with("key.pem is there already"), "{refused}");
    assert_eq!(Signer::read(&path).unwrap().public(), first.public());
}

#[test]
fn a_key_that_others_can_reach_is_refused() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("key.pem");
    signer().write_new(&path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o777] {
        set_mode(&path, mode);
        for error in [Signer::read(&path).unwrap_err(), PublicKey::read(&path).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{mode:o}");
            assert!(error.message().ends_with("is not private"), "{error}");
            assert!(error.detail_text().unwrap().contains(&format!("{mode:04o}")), "{error}");
        }
    }
    set_mode(&path, 0o400);
    Signer::read(&path).unwrap();
}

#[test]
fn what_is_no_key_is_refused_with_a_reason() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("key.pem");
    let missing = Signer::read(&path).unwrap_err();
    assert!(missing.message().starts_with("there is no key "), "{missing}");
    let half = &PRIVATE[..PRIVATE.len() / 2];
    let private_cases: [(&[u8], &str); 7] = [
        (PUBLIC.as_bytes(), "this is a public key, which cannot sign"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nx", "the key is encrypted"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nx", "this is no ed25519 key in PKCS #8 PEM"),
        (half.as_bytes(), "this is no ed25519 key in PKCS #8 PEM"),
        (b"", "this is no ed25519 key in PKCS #8 PEM"),
        (b"\xff\xfe", "is no key in PEM"),
        (&[b'a'; 100_000], "this is no ed25519 key in PKCS #8 PEM"),
    ];
    for (bytes, reason) in private_cases {
        std::fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o600);
        let error = Signer::read(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(reason), "{error}");
        assert!(error.message().contains("key.pem"), "{error}");
    }
    for text in [OTHER_ALGORITHM, &PUBLIC[..60], ""] {
        let error = PublicKey::from_pem(text).unwrap_err();
        assert_eq!(error.message(), "this is no public ed25519 key in PEM", "{text}");
    }
}

#[test]
fn the_environment_names_the_key() {
    let dir = crate::scratch::dir();
    let (named, default) = (dir.path().join("named.pem"), dir.path().join("default.pem"));
    let none = Signer::from_places(None, Some(default.clone())).unwrap();
    assert!(none.is_none());
    assert!(Signer::from_places(None, None).unwrap().is_none());
    let (first, second) = (Signer::generate().unwrap(), Signer::generate().unwrap());
    first.write_new(&named).unwrap();
    second.write_new(&default).unwrap();
    let found = |named: Option<&Path>| {
        let named = named.map(|path| path.as_os_str().to_owned());
        Signer::from_places(named, Some(default.clone()))
    };
    assert_eq!(found(Some(&named)).unwrap().unwrap().public(), first.public());
    assert_eq!(found(None).unwrap().unwrap().public(), second.public());
    assert!(found(Some(Path::new(""))).unwrap().is_none());
    let unreachable = Signer::from_places(None, Some(named.join("key.pem"))).unwrap_err();
    assert_eq!(unreachable.kind(), ErrorKind::Storage);
    let error = found(Some(&dir.path().join("gone"))).unwrap_err();
    assert!(error.message().starts_with("the key that SYNCLINE_KEY names: there is"), "{error}");
}

/// Runs OpenSSL in `dir`; what it prints.
fn openssl(dir: &Path, words: &str) -> Vec<u8> {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {output:?}");
    output.stdout
}

#[test]
fn keys_and_signatures_are_those_of_openssl() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: keys are not tried with OpenSSL, which is not installed");
        return;
    }
    let dir = crate::scratch::dir();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("message"), "a message").unwrap();

    let ours = Signer::generate().unwrap();
    ours.write_new(&file("ours.pem")).unwrap();
    let public = openssl(dir.path(), "pkey -in ours.pem -pubout");
    assert_eq!(String::from_utf8(public).unwrap(), ours.public().to_pem().unwrap());
    std::fs::write(file("public.pem"), ours.public().to_pem().unwrap()).unwrap();
    std::fs::write(file("sig"), ours.sign(b"a message")).unwrap();
    openssl(dir.path(), "pkeyutl -verify -pubin -inkey public.pem -rawin -in message -sigfile sig");

    openssl(dir.path(), "genpkey -algorithm ed25519 -out theirs.pem");
    set_mode(&file("theirs.pem"), 0o600);
    let theirs = Signer::read(&file("theirs.pem")).unwrap();
    let signature = openssl(dir.path(), "pkeyutl -sign -inkey theirs.pem -rawin -in message");
    assert!(theirs.public().has_signed(b"a message", &signature));
    openssl(dir.path(), "genpkey -algorithm x25519 -out other.pem");
    set_mode(&file("other.pem"), 0o600);
    let other = Signer::read(&file("other.pem")).unwrap_err();
    assert!(other.message().contains("no ed25519 key"), "{other}");
}
