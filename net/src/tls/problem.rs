//! What can be wrong with certificates, in words for who has to mend it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as RustlsError, InvalidMessage, RootCertStore};
use tracing::warn;

use super::IdentityFiles;

/// How long before its end a certificate is warned of.
const NOTICE: Duration = Duration::from_secs(14 * DAY_S);

const DAY_S: u64 = 24 * 3600;

/// Files that no TLS can be made of.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} cannot be used for TLS: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not, and what would work.
        reason: String,
    },
    /// A certificate and a key of two different owners.
    #[error("the key in {} is not that of the certificate in {}; both have to come from one request, and the \
             certificate that is shown has to be the first in its file", key.display(), certificate.display())]
    OtherKey {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    SetUp(#[from] RustlsError),
}

impl TlsError {
    pub(super) fn unusable(path: &Path, reason: String) -> Self {
        Self::Unusable { path: path.to_path_buf(), reason }
    }
}

/// Why a certificate and a key are not taken together.
pub(super) fn pair(files: &IdentityFiles, error: &RustlsError) -> TlsError {
    match error {
        RustlsError::InconsistentKeys(_) => {
            TlsError::OtherKey { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        RustlsError::InvalidCertificate(error) => {
            TlsError::unusable(&files.certificate, format!("its certificate cannot be read: {error}"))
        }
        error => TlsError::unusable(&files.key, format!("its key cannot be used: {error}")),
    }
}

/// Refuses a certificate that is not valid now, and warns of one that will not be for long.
pub(super) fn check_validity(
    path: &Path,
    chain: &[CertificateDer<'_>],
    provider: &CryptoProvider,
) -> Result<(), TlsError> {
    let now = UnixTime::now();
    if let Some(reason) = invalid_at(now, chain, provider) {
        return Err(TlsError::unusable(path, format!("its certificate {reason}")));
    }
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + NOTICE);
    if invalid_at(soon, chain, provider).is_some() {
        warn!(certificate = %path.display(), "the certificate expires within {} days", NOTICE.as_secs() / DAY_S);
    }
    Ok(())
}

/// Why a certificate is not valid at a time, if that is for the time.
fn invalid_at(time: UnixTime, chain: &[CertificateDer<'_>], provider: &CryptoProvider) -> Option<String> {
    let certificate = ParsedCertificate::try_from(chain.first()?).ok()?;
    // Times are looked at before signatures are. That nobody is trusted here says nothing about the certificate.
    let verified = tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor(
        &certificate,
        &RootCertStore::empty(),
        &[],
        time,
        provider.signature_verification_algorithms.all,
    );
    match verified {
        Err(RustlsError::InvalidCertificate(error)) => out_of_time(&error),
        _ => None,
    }
}

/// What is wrong with the time of a certificate, if that is what is wrong.
fn out_of_time(error: &CertificateError) -> Option<String> {
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            Some(format!("has expired {} ago", span(time.as_secs().saturating_sub(not_after.as_secs()))))
        }
        CertificateError::Expired => Some(String::from("has expired")),
        CertificateError::NotValidYetContext { time, not_before } => Some(format!(
            "is not valid yet, but in {}; is the clock right?",
            span(not_before.as_secs().saturating_sub(time.as_secs()))
        )),
        CertificateError::NotValidYet => Some(String::from("is not valid yet; is the clock right?")),
        _ => None,
    }
}

/// A time in the unit in which people think of it.
fn span(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{} minutes", seconds / 60),
        3600..DAY_S => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / DAY_S),
    }
}

/// What went wrong between two ends of a connection.
#[derive(Debug)]
pub struct Problem(String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

/// An error of a connection, in words if TLS is the cause.
pub(crate) fn told(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|error| error.downcast_ref::<RustlsError>()) {
        Some(cause) => io::Error::new(error.kind(), Problem(explained(cause))),
        None => error,
    }
}

fn explained(error: &RustlsError) -> String {
    match error {
        RustlsError::InvalidCertificate(error) => format!("the certificate of the other side {}", refused(error)),
        RustlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            String::from("the other side does not speak TLS here; without TLS the URL is grpc://HOST:PORT")
        }
        RustlsError::NoCertificatesPresented => {
            String::from("the client shows no certificate, and one is wanted (--tls-cert, --tls-key)")
        }
        RustlsError::AlertReceived(alert) => answered(*alert),
        error => error.to_string(),
    }
}

/// Why a certificate of the other side is not taken.
fn refused(error: &CertificateError) -> String {
    if let Some(reason) = out_of_time(error) {
        return reason;
    }
    match error {
        // The second: by somebody of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => String::from(
            "is signed by nobody who is trusted here: --tls-ca names the file with the certificate of who has signed it \
             (of a client: --tls-client-ca)",
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("is not for {}, but for {}", expected.to_str(), presented.join(", "))
        }
        error => format!("cannot be taken: {error}"),
    }
}

/// What the other side says of us before it closes the connection.
fn answered(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            String::from("the other side wants a certificate of ours: --tls-cert and --tls-key name one and its key")
        }
        AlertDescription::UnknownCA => String::from(
            "the other side does not trust who has signed our certificate (its --tls-ca or --tls-client-ca)",
        ),
        AlertDescription::CertificateExpired => String::from("the other side says that our certificate has expired"),
        AlertDescription::NoApplicationProtocol => {
            String::from("the other side speaks another protocol here: HTTP and Flight have a port each")
        }
        alert => format!("the other side ends TLS: {alert:?}"),
    }
}
