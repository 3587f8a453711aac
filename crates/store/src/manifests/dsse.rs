//! DSSE, the Dead Simple Signing Envelope, version 1.0.0: bytes, what they are, and signatures over
//! both (<https://github.com/secure-systems-lab/dsse>).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use super::keys::{PublicKey, Signer};

/// Written with padding, read with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An envelope as it stands in a file. What it carries is read from the same bytes that were
/// verified, never from the file once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    /// Says which key may fit. Nobody has signed it, so nothing is decided by it.
    #[serde(default)]
    keyid: String,
    sig: String,
}

impl Envelope {
    pub fn new(payload_type: &str, payload: &[u8]) -> Self {
        Self {
            payload: BASE64.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: Vec::new(),
        }
    }

    /// # Errors
    /// `Corrupt` if `text` is no envelope.
    pub fn parse(text: &[u8]) -> Result<Self> {
        serde_json::from_slice(text).map_err(|error| {
            Error::corrupt("this is no signed manifest")
                .detail(format!("it is not a DSSE envelope: {error}"))
                .hint(RESTORE)
                .source(error)
        })
    }

    pub fn to_text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)
            .map_err(|error| Error::bug("an envelope has no JSON form").source(error))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Adds a signature to those that are there.
    pub fn sign(&mut self, signer: &Signer) -> Result<()> {
        let message = pre_authentication_encoding(&self.payload_type, &decode(&self.payload)?);
        let sig = BASE64.encode(signer.sign(&message));
        self.signatures.push(Signed { keyid: signer.public().id()?, sig });
        Ok(())
    }

    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// What it carries, whoever made it.
    ///
    /// # Errors
    /// `Unsupported` if it is of another type, `Corrupt` if it is damaged.
    pub fn payload(&self, payload_type: &str) -> Result<Vec<u8>> {
        if self.payload_type != payload_type {
            return Err(Error::unsupported("the manifest carries something else")
                .detail(format!("its type is `{}`, not `{payload_type}`", self.payload_type)));
        }
        decode(&self.payload)
    }

    /// What it carries, if `key` has signed it as what it is.
    ///
    /// # Errors
    /// As for [`payload`](Self::payload); `Input` if it is not signed with this key, `Corrupt` if
    /// it is not what was signed.
    pub fn verify(&self, payload_type: &str, key: &PublicKey) -> Result<Vec<u8>> {
        let payload = self.payload(payload_type)?;
        let message = pre_authentication_encoding(&self.payload_type, &payload);
        for signed in &self.signatures {
            if decode(&signed.sig).is_ok_and(|sig| key.has_signed(&message, &sig)) {
                return Ok(payload);
            }
        }
        Err(self.refusal(&key.id()?))
    }

    /// Why no signature is one of the key `id`.
    fn refusal(&self, id: &str) -> Error {
        if !self.is_signed() {
            return Error::input("the manifest is not signed");
        }
        let mut others = self.signatures.iter().map(|signed| signed.keyid.as_str());
        if others.clone().any(|keyid| keyid == id || keyid.is_empty()) {
            return Error::corrupt(format!("the signature of key {id} does not fit the manifest"))
                .detail("the manifest or its signature is not what it was when it was signed")
                .hint(RESTORE);
        }
        let (first, more) = (others.next().unwrap_or_default(), others.count());
        let others = if more > 0 { format!("{first} and {more} more") } else { first.to_owned() };
        Error::input("the manifest is signed with another key")
            .detail(format!("it names key {}, and not {id}", others.escape_debug()))
            .hint("ask whoever gave you the manifest for their public key")
    }
}

const RESTORE: &str = "get the manifest again from where it was made, or from a backup";

/// What is signed: payload and type with their lengths, so that no two pairs are signed alike.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// DSSE lets signers choose between the two alphabets of base64.
fn decode(text: &str) -> Result<Vec<u8>> {
    BASE64.decode(text.replace('-', "+").replace('_', "/")).map_err(|error| {
        Error::corrupt("the manifest is damaged")
            .detail(format!("not base64: {error}"))
            .hint(RESTORE)
            .source(error)
    })
}

#[cfg(test)]
pub(crate) mod tests;
