//! The header by which requests say whose they are.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::refused;
use crate::error::Result;

/// What somebody shows to say who they are: the value of the header `authorization`.
pub(super) enum Shown<'a> {
    Nothing,
    Token(&'a str),
    Password(String, String),
}

/// Reads the header (RFC 7617, RFC 6750).
pub(super) fn shown(header: Option<&str>) -> Result<Shown<'_>> {
    let Some(header) = header else { return Ok(Shown::Nothing) };
    let (scheme, value) = header.trim().split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Shown::Token(value.trim()));
    }
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let decoded = is_basic.then(|| BASE64_STANDARD.decode(value.trim()).ok()).flatten();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => Ok(Shown::Password(user.to_owned(), password.to_owned())),
        None => {
            Err(refused("the header authorization is 'Basic', with base64 of user:password, or 'Bearer' and a token"))
        }
    }
}
