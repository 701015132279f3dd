//! Signed tickets: made once an order is paid, verified by anybody who has the public key.
//!
//! A ticket token is a compact JWS (EdDSA, Ed25519) whose claims say which seat it opens. Signing is deterministic: the
//! same claims always give the same token, so nothing about a token has to be stored; what was signed a moment ago is
//! remembered (`signed`). The private key never leaves this file. Whether a ticket was already used is known to the order
//! desk, not here.

mod signed;

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use actors::bytes::End;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes, spki::der::pem::LineEnding};
use ed25519_dalek::{Signature, SigningKey};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::TicketKeyPath;
use signed::Signatures;

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 2048;

/// Largest key file, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// Room for the claims of most tickets, made at once.
const CLAIMS_BYTES: usize = 256;

/// What a ticket says. The order of the fields is the order in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketClaims<'a> {
    /// The event's id.
    pub event: Cow<'a, str>,
    /// The block's id.
    pub block: Cow<'a, str>,
    /// The seat (`row-number`); none for standing places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<Cow<'a, str>>,
    /// The order's id.
    pub order: Cow<'a, str>,
    /// The ticket's id.
    pub ticket: Cow<'a, str>,
    /// Seconds since 1970 at which the order was paid, if the issuer wants to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
}

/// Why a token is not one of our tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketError {
    /// Not a ticket token at all.
    Malformed,
    /// Signed, it says, with a key that is not ours.
    UnknownKey,
    /// The signature does not fit: changed or made up.
    BadSignature,
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TicketError::Malformed => "not a ticket token",
            TicketError::UnknownKey => "the ticket was signed with an unknown key",
            TicketError::BadSignature => "the ticket's signature does not fit",
        })
    }
}

impl std::error::Error for TicketError {}

/// A ticket key that cannot be read or made.
#[derive(Debug)]
pub struct TicketKeyError {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for TicketKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticket key {}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for TicketKeyError {}

/// The key that signs tickets.
pub struct TicketKey {
    key: SigningKey,
    /// The same key once more, for signing.
    signer: Ed25519KeyPair,
    signed: Signatures,
    kid: String,
    header: String,
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

impl TicketKey {
    /// Reads the key; makes it first where it is ours to make and does not exist.
    ///
    /// # Errors
    /// The file cannot be read or made, is open to other users of the machine, or is not an Ed25519 key in PKCS#8 PEM.
    pub fn open(place: &TicketKeyPath) -> Result<TicketKey, TicketKeyError> {
        match place {
            TicketKeyPath::Given(path) => read(path),
            TicketKeyPath::Own(path) => {
                let fail = |error: io::Error| TicketKeyError { path: path.clone(), reason: error.to_string() };
                if !path.try_exists().map_err(fail)? {
                    create(path).map_err(fail)?;
                }
                read(path)
            }
        }
    }

    /// The key of these 32 secret bytes.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> TicketKey {
        Self::new(SigningKey::from_bytes(secret))
    }

    fn new(key: SigningKey) -> TicketKey {
        // RFC 7638: the key's id is the digest of its required members in this order, without spaces.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, public(&key));
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#));
        let signer = Ed25519KeyPair::from_seed_unchecked(key.as_bytes()).expect("32 bytes are a secret");
        TicketKey { key, signer, signed: Signatures::default(), kid, header }
    }

    /// The public key's id: its JWK thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The token of a ticket. The same claims always give the same token.
    ///
    /// # Panics
    /// Never: the claims are texts and numbers, which always have a JSON form.
    #[must_use]
    pub fn sign(&self, claims: &TicketClaims<'_>) -> String {
        let mut json = Vec::with_capacity(CLAIMS_BYTES);
        serde_json::to_writer(End(&mut json), claims).expect("claims are texts and numbers");
        let mut token = String::with_capacity(self.header.len() + json.len() * 4 / 3 + 92);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(json, &mut token);
        let signature = self.signed.of(token.as_bytes(), || self.signature(token.as_bytes()));
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    fn signature(&self, message: &[u8]) -> signed::Bytes {
        self.signer.sign(message).as_ref().try_into().expect("a signature has 64 bytes")
    }

    /// What a token says, if we signed it.
    ///
    /// # Errors
    /// Any [`TicketError`]. Claims are looked at only after the signature was found good.
    pub fn verify(&self, token: &str) -> Result<TicketClaims<'static>, TicketError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TicketError::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TicketError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TicketError::Malformed)?;
        if header != self.header {
            let header: Header = decode(header)?;
            // a header with our key and another form was not made by us
            let is_ours = header.kid == self.kid && header.alg == "EdDSA";
            return Err(if is_ours { TicketError::BadSignature } else { TicketError::UnknownKey });
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TicketError::Malformed)?;
        let signature = Signature::from_slice(&signature).map_err(|_| TicketError::Malformed)?;
        let is_good = self.key.verifying_key().verify_strict(message.as_bytes(), &signature);
        is_good.map_err(|_| TicketError::BadSignature)?;
        decode(claims)
    }

    /// The public key as a JWK set (RFC 7517, 8037), as `GET /v1/keys` answers it.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        serde_json::json!({"keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "use": "sig",
            "alg": "EdDSA",
            "kid": self.kid,
            "x": public(&self.key),
        }]})
    }
}

fn public(key: &SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes())
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TicketError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TicketError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TicketError::Malformed)
}

fn read(path: &Path) -> Result<TicketKey, TicketKeyError> {
    let fail = |reason: String| TicketKeyError { path: path.to_owned(), reason };
    let facts = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
    if facts.len() > KEY_FILE_BYTES_MAX {
        return Err(fail(format!("is larger than {KEY_FILE_BYTES_MAX} bytes")));
    }
    if facts.permissions().mode() & 0o007 != 0 {
        return Err(fail("is open to every user of the machine; chmod it to 0600".to_owned()));
    }
    let pem = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let key = SigningKey::from_pkcs8_pem(&pem);
    let key = key.map_err(|_| fail("is not an Ed25519 private key in PKCS#8 PEM".to_owned()))?;
    Ok(TicketKey::new(key))
}

/// Makes a key file that is either complete and on disk or not there at all, readable by its owner alone. Of several that
/// come at the same moment, in one process or in many, one makes it and the others find it: the draft's lock is the queue.
fn create(path: &Path) -> io::Result<()> {
    let draft = path.with_extension("pem.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&draft)?;
    file.lock()?;
    if path.try_exists()? {
        // made while we waited: what we hold is a draft of our own, or the finished key under its old name
        return match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let mut secret = [0_u8; 32];
    SysRng.try_fill_bytes(&mut secret).map_err(io::Error::other)?;
    // without the public half, which older readers of PKCS#8 do not accept
    let pair = KeypairBytes { secret_key: secret, public_key: None };
    let pem = pair.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    // a link, unlike a rename, never replaces a key that was put there in another way meanwhile
    match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::remove_file(&draft)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn claims() -> TicketClaims<'static> {
        TicketClaims {
            event: "aurora-night-1".into(),
            block: "A".into(),
            seat: Some("12-7".into()),
            order: "ord_1".into(),
            ticket: "tkt_1".into(),
            iat: None,
        }
    }

    #[test]
    fn a_ticket_says_what_was_signed_and_always_the_same() {
        let key = TicketKey::from_secret(&[7; 32]);
        let token = key.sign(&claims());
        assert_eq!(key.verify(&token), Ok(claims()));
        assert_eq!(key.sign(&claims()), token);
        let standing = TicketClaims { seat: None, iat: Some(1_800_000_000), ..claims() };
        assert_eq!(key.verify(&key.sign(&standing)), Ok(standing));
    }

    /// The token of these claims as `openssl pkeyutl -sign -rawin` makes it: what gates in the field already read must
    /// never change.
    #[test]
    fn another_program_makes_the_same_token_and_key_id() {
        let key = TicketKey::from_secret(&[7; 32]);
        let expected = concat!(
            "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6Ii0tNklNNWwwT29zTGo5eVdza0lTWWhVQTNuXzNDVVJRa2",
            "1yWU1TaGFfY2sifQ.eyJldmVudCI6ImF1cm9yYS1uaWdodC0xIiwiYmxvY2siOiJBIiwic2VhdCI6IjEyLTciLCJvc",
            "mRlciI6Im9yZF8xIiwidGlja2V0IjoidGt0XzEifQ.znzbE7uf_D-enCXrpsYCc3lytFYY7RMAwtU4rF3QPRt88_z_",
            "6dF9y1kOZX2KyXi3ce-d84H1d5ZGdmmMbiDMDw"
        );
        assert_eq!(key.sign(&claims()), expected);
        assert_eq!(key.kid(), "--6IM5l0OosLj9yWskISYhUA3n_3CURQkmrYMSha_ck");
        let jwk = &key.jwks()["keys"][0];
        assert_eq!(
            (&jwk["x"], &jwk["kid"], &jwk["alg"]),
            (&"6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw".into(), &key.kid().into(), &"EdDSA".into())
        );
    }

    #[test]
    fn a_ticket_with_one_bit_changed_is_refused() {
        let key = TicketKey::from_secret(&[7; 32]);
        let token = key.sign(&claims());
        for at in 0..token.len() {
            let bit = at % 7;
            let mut bent = token.clone().into_bytes();
            bent[at] ^= 1 << bit;
            let bent = String::from_utf8(bent).unwrap();
            assert!(key.verify(&bent).is_err(), "byte {at} bit {bit}");
        }
    }

    #[test]
    fn tickets_of_others_and_things_that_are_none_are_refused() {
        let key = TicketKey::from_secret(&[7; 32]);
        let foreign = TicketKey::from_secret(&[8; 32]).sign(&claims());
        assert_eq!(key.verify(&foreign), Err(TicketError::UnknownKey));
        let (_, rest) = foreign.split_once('.').unwrap();
        assert_eq!(key.verify(&format!("{}.{rest}", key.header)), Err(TicketError::BadSignature));
        let unsigned = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"none","kid":"{}"}}"#, key.kid()));
        assert_eq!(key.verify(&format!("{unsigned}.e30.")), Err(TicketError::UnknownKey));
        for bad in ["", ".", "..", "a.b.c", "not a token", &"x".repeat(5000)] {
            assert_eq!(key.verify(bad), Err(TicketError::Malformed), "{bad}");
        }
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ticket-key.pem");
        let own = TicketKeyPath::Own(path.clone());
        std::fs::write(dir.path().join("ticket-key.pem.new"), "left by a crash").unwrap();
        let token = TicketKey::open(&own).unwrap().sign(&claims());
        assert_eq!(TicketKey::open(&own).unwrap().sign(&claims()), token);
        assert_eq!(TicketKey::open(&TicketKeyPath::Given(path.clone())).unwrap().verify(&token), Ok(claims()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let pem = std::fs::read_to_string(&path).unwrap();
        assert!(pem.contains("\nMC4CAQAwBQYDK2VwBCIEI"), "the form of RFC 8410 that every other program reads");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(TicketKey::open(&own).unwrap_err().to_string().contains("chmod"));
    }

    #[test]
    fn of_many_that_start_at_once_one_makes_the_key() {
        for round in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let own = TicketKeyPath::Own(dir.path().join("ticket-key.pem"));
            if round % 2 == 1 {
                std::fs::write(dir.path().join("ticket-key.pem.new"), "left by a crash, longer than a key. ".repeat(9))
                    .unwrap();
            }
            let begin = std::sync::Barrier::new(8);
            let open = || {
                begin.wait();
                TicketKey::open(&own).unwrap().kid().to_owned()
            };
            let kids: Vec<String> = std::thread::scope(|scope| {
                let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                opening.into_iter().map(|opened| opened.join().unwrap()).collect()
            });
            assert!(kids.iter().all(|kid| *kid == kids[0]), "{kids:?}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        }
    }

    #[test]
    fn a_key_that_is_missing_or_of_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let given = TicketKeyPath::Given(path.clone());
        assert!(TicketKey::open(&given).unwrap_err().to_string().contains("key.pem"));
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(TicketKey::open(&given).unwrap_err().to_string().contains("Ed25519"));
    }
}
