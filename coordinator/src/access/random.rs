//! What nobody can foretell: tokens, keys, the names of what only those may fetch who were told.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{CoordinatorError, Result};

/// Bytes that nobody can foretell.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CoordinatorError::Lost { part: "source of randomness" })?;
    Ok(bytes)
}

/// So many of them as text that can stand in a header and in a URL.
pub(crate) fn random_text<const N: usize>() -> Result<String> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<N>()?))
}
