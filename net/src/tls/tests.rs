//! What is made of files, and what is said of those that nothing can be made of.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidemill_plans::error::chain;

use super::certificates::Authority;
use super::*;

/// A folder with a trusted one's certificate and a pair that it has signed.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new("ours");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    authority.sign().write(folder.path(), "server");
    authority.sign_expired().write(folder.path(), "expired");
    folder
}

fn files(folder: &Path, certificate: &str, key: &str) -> TlsFiles {
    let path = |name: &str| folder.join(name);
    let identity = Some(IdentityFiles { certificate: path(certificate), key: path(key) });
    TlsFiles { identity, client_ca: Some(path("ca.pem")), ca: Some(path("ca.pem")) }
}

#[test]
fn a_pair_and_those_who_are_trusted_are_all_it_takes() {
    let folder = folder();
    let tls = Tls::open(files(folder.path(), "server.pem", "server.key")).unwrap();
    assert!(tls.asks_for_certificates() && tls.server(Protocol::Http1).is_some());
    assert_eq!(tls.server(Protocol::Http2).unwrap().alpn_protocols, [b"h2"]);
    // Without files, whoever the system trusts.
    let tls = Tls::open(TlsFiles::default()).unwrap();
    assert!(!tls.asks_for_certificates() && tls.server(Protocol::Http2).is_none());
}

#[test]
fn what_cannot_be_used_is_told_with_what_would_work() {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let pair = Authority::new("theirs").sign();
    write("other.key", &pair.key);
    write("empty.pem", "");
    write("cut.pem", &pair.certificate[..pair.certificate.len() - 30]);
    write("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n");
    std::fs::write(folder.path().join("der.pem"), [0x30, 0x82, 0x01]).unwrap();
    write("text.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (certificate, key, wanted) in [
        ("absent.pem", "server.key", "cannot read"),
        ("server.pem", "other.key", "other.key is not that of the certificate in"),
        ("expired.pem", "expired.key", "expired.pem cannot be used for TLS: its certificate has expired"),
        ("empty.pem", "server.key", "no certificate is in it: in PEM it begins with"),
        ("server.key", "server.key", "no certificate is in it"),
        ("cut.pem", "server.key", "has no end"),
        ("der.pem", "server.key", "openssl x509 -inform der"),
        ("text.pem", "server.key", "cannot be"),
        ("server.pem", "encrypted.key", "encrypted with a password; openssl pkey"),
        ("server.pem", "server.pem", "the key has a file of its own"),
    ] {
        let error = chain(&Tls::open(files(folder.path(), certificate, key)).unwrap_err());
        assert!(error.contains(wanted), "{certificate}, {key}: {error}");
        assert!(!error.contains(pair.key.lines().nth(1).unwrap()), "{error}");
    }
    let mut wrong = files(folder.path(), "server.pem", "server.key");
    wrong.client_ca = Some(PathBuf::from("nowhere.pem"));
    assert!(chain(&Tls::open(wrong).unwrap_err()).contains("nowhere.pem"));
}

#[test]
fn files_that_cannot_be_used_leave_what_was_in_use() {
    let folder = folder();
    let tls = Tls::open(files(folder.path(), "server.pem", "server.key")).unwrap();
    let before = tls.server(Protocol::Http2).unwrap();
    std::fs::copy(folder.path().join("expired.pem"), folder.path().join("server.pem")).unwrap();
    assert!(tls.read_again().is_err());
    assert!(Arc::ptr_eq(&before, &tls.server(Protocol::Http2).unwrap()));
    Authority::new("ours").sign().write(folder.path(), "server");
    tls.read_again().unwrap();
    assert!(!Arc::ptr_eq(&before, &tls.server(Protocol::Http2).unwrap()));
}
