//! JSON web tokens (RFC 7519) that somebody else has signed, such as an OIDC provider: who they are for.
//!
//! The keys are a JWK set (RFC 7517), as providers publish them at `jwks_uri`. Signatures are RS256 and ES256 (RFC 7518);
//! `none` and HMAC are never taken, whatever a token's header says.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{CoordinatorError, Result};

/// How far the clocks of others may be from ours.
const LEEWAY: Duration = Duration::from_secs(60);

/// No token is longer.
const BYTES_MAX: usize = 16 << 10;

/// Tells who a token is for that was not made here.
pub trait TokenValidator: fmt::Debug + Send + Sync {
    /// The user whom a token is for, at a time since 1970. An error says what is wrong with it; never how it would be
    /// right.
    fn user(&self, token: &str, now: Duration) -> Result<String, String>;
}

/// What tokens have to say, beside their signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtRules {
    /// Who has to have made them (`iss`).
    pub issuer: String,
    /// Whom they have to be meant for (`aud`).
    pub audience: String,
    /// The claim that names the user; `sub` at most providers.
    pub user_claim: String,
}

/// Tokens that are signed with one of these keys.
#[derive(Debug)]
pub struct JwtValidator {
    keys: RwLock<Vec<Key>>,
    rules: JwtRules,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    public: PublicKey,
}

#[derive(Debug)]
enum PublicKey {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that have to be understood: none is.
    crit: Option<Value>,
}

impl JwtValidator {
    /// Reads a JWK set; keys of other kinds in it are passed over.
    pub fn new(key_set: &str, rules: JwtRules) -> Result<Self> {
        Ok(Self { keys: RwLock::new(read(key_set)?), rules })
    }

    /// Takes the keys of another set instead: a provider has new ones now and then, and tokens by old ones hold no more
    /// once these are not in the set. One that cannot be used changes nothing.
    pub fn renew(&self, key_set: &str) -> Result<()> {
        let keys = read(key_set)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn claims(&self, token: &str) -> Result<Map<String, Value>, &'static str> {
        let (signed, signature) = token.rsplit_once('.').ok_or("it is no JSON web token")?;
        let (header, payload) = signed.split_once('.').ok_or("it is no JSON web token")?;
        let header: Header = part(header)?;
        if header.crit.is_some() {
            return Err("it has extensions that are not known here");
        }
        let signature = decoded(signature).ok_or("its signature is no base64")?;
        let named = |key: &&Key| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut keys = keys.iter().filter(named).filter(|key| key.public.algorithm() == header.alg).peekable();
        if keys.peek().is_none() {
            return Err("none of the keys is for its algorithm and key id");
        }
        if !keys.any(|key| key.public.has_signed(signed.as_bytes(), &signature)) {
            return Err("its signature is wrong");
        }
        part(payload)
    }
}

/// The keys of a set that are known here; an error if there is none.
fn read(key_set: &str) -> Result<Vec<Key>> {
    let wrong = |reason: String| CoordinatorError::Statement { message: format!("the JWK set {reason}") };
    let set: KeySet = serde_json::from_str(key_set).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let keys: Vec<Key> = set.keys.iter().filter_map(Jwk::key).collect();
    if keys.is_empty() {
        return Err(wrong(String::from("has no key for signatures by RS256 or ES256 (kty RSA, or EC with P-256)")));
    }
    Ok(keys)
}

impl TokenValidator for JwtValidator {
    fn user(&self, token: &str, now: Duration) -> Result<String, String> {
        if token.len() > BYTES_MAX {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        let claims = self.claims(token)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let (now, leeway) = (now.as_secs_f64(), LEEWAY.as_secs_f64());
        if time("exp").ok_or("it does not say when it ends (exp)")? + leeway < now {
            return Err(String::from("it has expired"));
        }
        if time("nbf").is_some_and(|begins| begins - leeway > now) {
            return Err(String::from("it does not hold yet (nbf)"));
        }
        if text("iss") != Some(self.rules.issuer.as_str()) {
            return Err(format!("it is not of the issuer {}", self.rules.issuer));
        }
        let audience = self.rules.audience.as_str();
        let is_meant = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !is_meant {
            return Err(format!("it is not meant for {audience} (aud)"));
        }
        let user = text(&self.rules.user_claim).filter(|user| !user.is_empty());
        user.map(str::to_owned).ok_or_else(|| format!("it names no user ({})", self.rules.user_claim))
    }
}

impl Jwk {
    fn key(&self) -> Option<Key> {
        if self.used_for.as_deref().is_some_and(|used_for| used_for != "sig") {
            return None;
        }
        let number = |text: &Option<String>| decoded(text.as_deref()?);
        let public = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => PublicKey::Rsa { n: without_zeros(number(&self.n)?), e: without_zeros(number(&self.e)?) },
            ("EC", Some("P-256")) => {
                let (x, y) = (number(&self.x)?, number(&self.y)?);
                PublicKey::P256([&[4], x.as_slice(), y.as_slice()].concat())
            }
            _ => return None,
        };
        Some(Key { id: self.kid.clone(), public })
    }
}

impl PublicKey {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
        }
    }
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, &'static str> {
    let json = decoded(text).ok_or("a part of it is no base64")?;
    serde_json::from_slice(&json).map_err(|_| "a part of it is no JSON that tokens have")
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

#[cfg(test)]
mod tests;
