//! Passwords: kept as argon2id hashes, in the text form that names their parameters, so that those may change.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use super::random;
use crate::error::{CoordinatorError, Result};

/// What is hashed is read as a whole; nobody's password is longer.
const BYTES_MAX: usize = 1024;

/// The salt of the hash that is made for a user who is not there.
const NOBODY: &[u8; 16] = b"nobody's-salt-16";

/// The hash of a password, with a salt of its own. Takes tens of milliseconds, and is meant to.
pub(crate) fn hash(password: &str) -> Result<String> {
    if password.is_empty() || password.len() > BYTES_MAX {
        let message = format!("a password has 1 to {BYTES_MAX} bytes");
        return Err(CoordinatorError::Statement { message });
    }
    let salt: [u8; 16] = random()?;
    hash_with(password, &salt).ok_or(CoordinatorError::Lost { part: "password hash" })
}

/// Whether a password is the one of this hash. Without a hash it takes as long: nobody learns who is there.
pub(super) fn is_right(password: &str, hash: Option<&str>) -> bool {
    let Some(hash) = hash.filter(|_| password.len() <= BYTES_MAX) else {
        hash_with(&password[..0], NOBODY);
        return false;
    };
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

fn hash_with(password: &str, salt: &[u8]) -> Option<String> {
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password_with_salt(password.as_bytes(), salt);
    hash.ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_its_password_from_others() {
        let (first, second) = (hash("it's long enough").unwrap(), hash("it's long enough").unwrap());
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second);
        assert!(is_right("it's long enough", Some(&first)) && is_right("it's long enough", Some(&second)));
        assert!(!is_right("it's long enough ", Some(&first)) && !is_right("", Some(&first)));
        assert!(!is_right("it's long enough", None) && !is_right("x", Some("not a hash")));
        assert!(hash("").is_err() && hash(&"x".repeat(2000)).is_err());
        assert!(!is_right(&"x".repeat(2000), Some(&first)));
    }
}
