//! Stories of callers: the honest, the late and those who bend tokens.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use super::*;
use crate::config::{self, Config, Secret};

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of at least thirty-two bytes";

fn config() -> config::Auth {
    let mut config = Config::defaults().auth;
    config.hs256_secret = Some(Secret::new(SECRET));
    config
}

/// An identity provider's private key: PKCS#8 of 32 secret bytes.
fn provider(seed: u8) -> EncodingKey {
    let header = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    EncodingKey::from_ed_der(&[&header[..], &[seed; 32]].concat())
}

fn okp(key: &EncodingKey, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, Algorithm::EdDSA).unwrap()).unwrap();
    (jwk["kid"], jwk["use"]) = (json!(kid), json!("sig"));
    jwk
}

fn with_jwks(mut config: config::Auth, keys: Value) -> Result<CustomerTokens, JwksError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "keys": keys }).to_string()).unwrap();
    config.jwks_file = Some(file.path().to_owned());
    CustomerTokens::new(&config)
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(key: &EncodingKey, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn signed_ed(key: &EncodingKey, header: &Value, claims: &Value) -> String {
    signed(key, Algorithm::EdDSA, header, claims)
}

fn signed_hs(secret: &[u8], header: &Value, claims: &Value) -> String {
    signed(&EncodingKey::from_secret(secret), Algorithm::HS256, header, claims)
}

fn hs(claims: &Value) -> String {
    signed_hs(SECRET.as_bytes(), &json!({"alg": "HS256"}), claims)
}

#[test]
fn an_organizers_key_opens_and_any_other_does_not() {
    let (key, digest) = new_key();
    let (other, other_digest) = new_key();
    assert!(key.starts_with("sk_") && key.len() == 46 && key != other);
    let keys = OrganizerKeys::new(&[other_digest, digest]);
    assert_eq!(keys.verify(&key).unwrap().key, digest);
    assert_eq!(keys.verify(&new_key().0), Err(AuthError::UnknownKey));
    assert_eq!(keys.verify(&key[..45]), Err(AuthError::UnknownKey));
    assert_eq!(keys.verify("password"), Err(AuthError::Malformed));
    assert_eq!(keys.verify(&format!("sk_{}", "x".repeat(1000))), Err(AuthError::Malformed));
    assert_eq!(digest.to_string().parse(), Ok(digest));
}

#[test]
fn the_header_tells_organizers_from_customers() {
    let (key, digest) = new_key();
    let mut config = config();
    config.organizer_keys = vec![digest];
    let auth = Auth::new(&config).unwrap();
    let token = mint(&config, "ada", Duration::from_secs(60), NOW).unwrap();
    assert_eq!(auth.identify(Some(&format!("Bearer {key}")), NOW), Ok(Caller::Organizer(Organizer { key: digest })));
    let ada = Verified { customer: "ada".into(), expires_at: NOW + 90 };
    assert_eq!(auth.identify(Some(&format!("bearer  {token}")), NOW), Ok(Caller::Customer(ada)));
    assert_eq!(auth.identify(None, NOW), Err(AuthError::Missing));
    for header in ["", "Bearer", "Bearer ", "Basic dTpw", "Bearer a b", &token, "Bearer not-a-token", "Bearer a.b.c"] {
        assert_eq!(auth.identify(Some(header), NOW), Err(AuthError::Malformed), "{header}");
    }
}

#[test]
fn a_minted_token_lives_from_now_until_its_end_and_the_leeway() {
    let mut config = config();
    config.issuer = Some("shop".to_owned());
    config.audience = Some("stampede".to_owned());
    let tokens = CustomerTokens::new(&config).unwrap();
    let token = mint(&config, "ada@example.org", Duration::from_secs(60), NOW).unwrap();
    assert_eq!(tokens.verify(&token, NOW).unwrap().customer, "ada@example.org");
    tokens.verify(&token, NOW + 89).unwrap();
    assert_eq!(tokens.verify(&token, NOW + 90), Err(AuthError::Expired));

    let late = hs(&json!({"sub": "ada", "exp": NOW + 500, "nbf": NOW + 100, "iss": "shop", "aud": ["x", "stampede"]}));
    assert_eq!(tokens.verify(&late, NOW + 69), Err(AuthError::NotYetValid));
    tokens.verify(&late, NOW + 70).unwrap();
    for (claims, error) in [
        (json!({"sub": "ada", "exp": NOW + 9, "iss": "other", "aud": "stampede"}), AuthError::WrongIssuer),
        (json!({"sub": "ada", "exp": NOW + 9, "aud": "stampede"}), AuthError::WrongIssuer),
        (json!({"sub": "ada", "exp": NOW + 9, "iss": "shop", "aud": "stamp"}), AuthError::WrongAudience),
        (json!({"sub": "ada", "exp": NOW + 9, "iss": "shop"}), AuthError::WrongAudience),
    ] {
        assert_eq!(tokens.verify(&hs(&claims), NOW), Err(error), "{claims}");
    }
    for bad in ["", "a b", "a\nb", "ä", &"x".repeat(129)] {
        assert_eq!(mint(&config, bad, Duration::from_secs(60), NOW), Err(AuthError::Malformed), "{bad}");
    }
}

#[test]
fn claims_that_are_missing_or_bent_are_refused() {
    let tokens = CustomerTokens::new(&config()).unwrap();
    for claims in [
        json!({"sub": "ada"}),
        json!({"exp": NOW + 60}),
        json!({"sub": "", "exp": NOW + 60}),
        json!({"sub": "a b", "exp": NOW + 60}),
        json!({"sub": "x".repeat(129), "exp": NOW + 60}),
        json!({"sub": 7, "exp": NOW + 60}),
        json!({"sub": "ada", "exp": "tomorrow"}),
        json!({"sub": "ada", "exp": 1e300}),
        json!({"sub": "ada", "exp": NOW + 60, "nbf": -1}),
        json!(["ada"]),
    ] {
        assert_eq!(tokens.verify(&hs(&claims), NOW), Err(AuthError::Malformed), "{claims}");
    }
    tokens.verify(&hs(&json!({"sub": "x".repeat(128), "exp": NOW as f64 + 0.5})), NOW).unwrap();
}

#[test]
fn a_token_with_one_bit_changed_is_refused() {
    let config = config();
    let tokens = CustomerTokens::new(&config).unwrap();
    let token = mint(&config, "ada", Duration::from_secs(60), NOW).unwrap();
    for at in 0..token.len() {
        for bit in 0..7 {
            let mut bent = token.clone().into_bytes();
            bent[at] ^= 1 << bit;
            let bent = String::from_utf8(bent).unwrap();
            assert!(tokens.verify(&bent, NOW).is_err(), "byte {at} bit {bit}");
        }
    }
    assert_eq!(tokens.verify(&format!("{token}{}", "A".repeat(5000)), NOW), Err(AuthError::Malformed));
}

#[test]
fn no_algorithm_but_the_keys_own_is_accepted() {
    let key = provider(1);
    let tokens = with_jwks(config(), json!([okp(&key, "idp")])).unwrap();
    let claims = json!({"sub": "ada", "exp": NOW + 60});
    let unsigned = |alg: &str| format!("{}.{}.", part(&json!({ "alg": alg })), part(&claims));
    for alg in ["none", "None", "NONE", "HS384", "HS512", "ES256", "PS256", "hs256", ""] {
        assert_eq!(tokens.verify(&unsigned(alg), NOW), Err(AuthError::WrongAlgorithm), "{alg}");
    }
    assert_eq!(tokens.verify(&unsigned("HS256"), NOW), Err(AuthError::BadSignature));
    assert_eq!(tokens.verify(&unsigned("RS256"), NOW), Err(AuthError::UnknownKey));

    // the public key, which everybody has, used as if it were the secret
    let public = URL_SAFE_NO_PAD.decode(okp(&key, "idp")["x"].as_str().unwrap()).unwrap();
    let named = signed_hs(&public, &json!({"alg": "HS256", "kid": "idp"}), &claims);
    assert_eq!(tokens.verify(&named, NOW), Err(AuthError::WrongAlgorithm));
    let unnamed = signed_hs(&public, &json!({"alg": "HS256"}), &claims);
    assert_eq!(tokens.verify(&unnamed, NOW), Err(AuthError::BadSignature));

    let critical = signed_ed(&key, &json!({"alg": "EdDSA", "kid": "idp", "crit": ["b64"]}), &claims);
    assert_eq!(tokens.verify(&critical, NOW), Err(AuthError::Malformed));
    let mut without_secret = config();
    without_secret.hs256_secret = None;
    let tokens = with_jwks(without_secret, json!([okp(&key, "idp")])).unwrap();
    assert_eq!(tokens.verify(&hs(&claims), NOW), Err(AuthError::WrongAlgorithm));
}

#[test]
fn the_kid_chooses_the_key() {
    let (old, new, foreign) = (provider(1), provider(2), provider(3));
    let tokens = with_jwks(config(), json!([okp(&old, "old"), okp(&new, "new")])).unwrap();
    let claims = json!({"sub": "ada", "exp": NOW + 60});
    let by = |key: &EncodingKey, header: Value| tokens.verify(&signed_ed(key, &header, &claims), NOW);
    assert_eq!(by(&old, json!({"alg": "EdDSA", "kid": "old"})).unwrap().customer, "ada");
    by(&new, json!({"alg": "EdDSA", "kid": "new"})).unwrap();
    assert_eq!(by(&old, json!({"alg": "EdDSA", "kid": "new"})), Err(AuthError::BadSignature));
    assert_eq!(by(&foreign, json!({"alg": "EdDSA", "kid": "foreign"})), Err(AuthError::UnknownKey));
    assert_eq!(by(&old, json!({"alg": "EdDSA"})), Err(AuthError::UnknownKey), "two keys and no kid");
    let single = with_jwks(config(), json!([okp(&old, "old")])).unwrap();
    single.verify(&signed_ed(&old, &json!({"alg": "EdDSA"}), &claims), NOW).unwrap();
}

/// An RS256 token and key made with `openssl genrsa 2048`, `openssl rsa -modulus` and `openssl dgst -sha256 -sign`.
#[test]
fn an_rs256_token_of_another_program_is_verified() {
    let fixture: Value = serde_json::from_str(include_str!("rs256.json")).unwrap();
    let tokens = with_jwks(config(), json!([fixture["jwk"]])).unwrap();
    let token = fixture["token"].as_str().unwrap();
    assert_eq!(tokens.verify(token, NOW).unwrap().customer, "ada");
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(tokens.verify(&format!("{message}.AAAA"), NOW), Err(AuthError::BadSignature));
}

#[test]
fn a_jwks_file_that_could_mislead_is_refused() {
    let mut private = okp(&provider(1), "idp");
    private["d"] = json!("AAAA");
    let symmetric = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "kid": "s", "alg": "HS256"});
    let mut encryption = okp(&provider(1), "enc");
    encryption["use"] = json!("enc");
    let mut short = okp(&provider(1), "short");
    short["x"] = json!("AAAA");
    let weak = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"});
    for (keys, reason) in [
        (json!([private]), "private key"),
        (json!([symmetric]), "no EdDSA or RS256"),
        (json!([encryption]), "no EdDSA or RS256"),
        (json!([]), "no EdDSA or RS256"),
        (json!([short]), "32 bytes"),
        (json!([weak]), "2048 bits"),
        (json!([okp(&provider(1), "a"), okp(&provider(2), "a")]), "told apart"),
        (json!("keys"), "not a JWKS"),
    ] {
        let error = with_jwks(config(), keys).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("auth.jwks_file"), "{error}");
    }
    let mut missing = config();
    missing.jwks_file = Some("/nowhere/jwks.json".into());
    assert!(Auth::new(&missing).unwrap_err().to_string().contains("/nowhere/jwks.json"));
}

#[test]
fn a_token_that_was_verified_before_is_judged_by_its_times_and_every_byte_again() {
    let tokens = CustomerTokens::new(&config()).unwrap();
    let token = hs(&json!({"sub": "ada", "exp": NOW + 60, "nbf": NOW}));
    for _ in 0..2 {
        assert_eq!(tokens.verify(&token, NOW).unwrap().customer, "ada");
    }
    assert_eq!(tokens.verify(&token, NOW + 89).unwrap().expires_at, NOW + 90);
    assert_eq!(tokens.verify(&token, NOW + 90), Err(AuthError::Expired));
    assert_eq!(tokens.verify(&token, NOW - 31), Err(AuthError::NotYetValid));
    for at in 0..token.len() {
        let mut bent = token.clone().into_bytes();
        bent[at] ^= 1;
        assert!(tokens.verify(&String::from_utf8(bent).unwrap(), NOW).is_err(), "byte {at}");
    }
    assert!(tokens.verify(&token[..token.len() - 1], NOW).is_err());
    tokens.verify(&token, NOW).unwrap();
}

#[test]
fn what_was_refused_is_refused_by_the_same_word_again_and_a_late_token_is_not_refused_for_ever() {
    let tokens = CustomerTokens::new(&config()).unwrap();
    let late = hs(&json!({"sub": "ada", "exp": NOW + 500, "nbf": NOW + 100}));
    let forged = signed_hs(
        b"another secret of thirty-two bytes!",
        &json!({"alg": "HS256"}),
        &json!({"sub": "ada", "exp": NOW + 60}),
    );
    for _ in 0..2 {
        assert_eq!(tokens.verify(&late, NOW), Err(AuthError::NotYetValid));
        assert_eq!(tokens.verify(&forged, NOW), Err(AuthError::BadSignature));
    }
    assert_eq!(tokens.verify(&late, NOW + 100).unwrap().customer, "ada");
}
