//! Files in PEM: certificates and keys. What is in a file of another kind is told by what it would take.

use std::fs;
use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::problem::TlsError;

/// Larger files hold something else.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The first byte of what is in DER.
const DER: u8 = 0x30;

/// The certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| damaged(path, &error))?;
    if !found.is_empty() {
        return Ok(found);
    }
    let hint = match bytes.first() {
        Some(&DER) => "it is in DER; openssl x509 -inform der -in FILE -out FILE.pem writes it in PEM",
        _ => "in PEM it begins with -----BEGIN CERTIFICATE-----",
    };
    Err(TlsError::unusable(path, format!("no certificate is in it: {hint}")))
}

/// The key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        Error::NoItemsFound => TlsError::unusable(path, format!("no private key is in it: {}", without_key(&bytes))),
        error => damaged(path, &error),
    })
}

/// The certificates of a file, as those that are trusted.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::unusable(path, format!("a certificate in it cannot be trusted: {error}")))?;
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_path_buf(), source };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(TlsError::unusable(path, format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    fs::read(path).map_err(failed)
}

fn without_key(bytes: &[u8]) -> &'static str {
    let has = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    if has("ENCRYPTED") {
        "it is encrypted with a password; openssl pkey -in FILE -out FILE.pem writes it without one"
    } else if bytes.first() == Some(&DER) {
        "it is in DER; openssl pkey -inform der -in FILE -out FILE.pem writes it in PEM"
    } else if has("BEGIN CERTIFICATE") {
        "it has certificates; the key has a file of its own"
    } else {
        "in PEM it begins with -----BEGIN PRIVATE KEY-----"
    }
}

/// The library's texts quote the file, which may be a key.
fn damaged(path: &Path, error: &Error) -> TlsError {
    let what = match error {
        Error::MissingSectionEnd { .. } => "a section in it has no end: a line -----END … ----- is missing",
        Error::IllegalSectionStart { .. } => "the line that begins a section in it is damaged",
        Error::Base64Decode(_) => "a section in it is not in base64",
        _ => "it is not in PEM",
    };
    TlsError::unusable(path, String::from(what))
}
