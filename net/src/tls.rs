//! Certificates and keys of a process, and what TLS is made of them.
//!
//! One set of files serves for both directions: a worker shows other workers the certificate that it shows the
//! coordinator. The files are read again when they change, without a restart; a set that cannot be used leaves the one
//! before in use. All is made anew from them, not only the certificate: the trusted ones may have changed as well.

mod pem;
mod problem;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tidemill_plans::error::chain;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tracing::warn;

pub(crate) use self::problem::told;
pub use self::problem::{Problem, TlsError};
use crate::listener::Protocol;
use crate::renewal::{Renewable, Renewal};

/// The files that a process was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate that it shows, with those between it and the one that others trust, and its key.
    pub identity: Option<IdentityFiles>,
    /// The certificates of those who sign for clients; clients without such a certificate are refused.
    pub client_ca: Option<PathBuf>,
    /// The certificates of those who sign for servers; without it, the ones that the system trusts.
    pub ca: Option<PathBuf>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, and behind it those of who has signed it, up to the one that others trust.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// TLS of a process. Clones are the same, and see the same renewals.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    current: Arc<RwLock<Configs>>,
}

/// What was made of the files.
#[derive(Clone)]
struct Configs {
    /// For listeners, if there is a certificate to show.
    server: Option<Servers>,
    client: Arc<ClientConfig>,
}

/// The same twice, for the protocol is agreed on in the handshake.
#[derive(Clone)]
struct Servers {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or used; the text says which, and what would work.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let configs = Configs::read(&files)?;
        Ok(Self { files: Arc::new(files), current: Arc::new(RwLock::new(configs)) })
    }

    /// Has the files read again when they change, for as long as the answer is kept. Within a tokio runtime.
    pub fn renew(&self) -> Renewal {
        Renewal::start(self.clone())
    }

    /// Whether clients have to show a certificate.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// What a listener takes connections with; nothing if there is no certificate to show.
    pub(crate) fn server(&self, protocol: Protocol) -> Option<Arc<ServerConfig>> {
        let servers = self.configs().server?;
        Some(match protocol {
            Protocol::Http1 => servers.http1,
            Protocol::Http2 => servers.http2,
        })
    }

    /// What connections are made with.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.configs().client
    }

    fn configs(&self) -> Configs {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the files as they are now; what was in use stays if they cannot be used.
    fn read_again(&self) -> Result<(), TlsError> {
        let configs = Configs::read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = configs;
        Ok(())
    }
}

impl Renewable for Tls {
    fn what(&self) -> &'static str {
        "certificates"
    }

    fn files(&self) -> Vec<PathBuf> {
        let identity = self.files.identity.iter().flat_map(|files| [&files.certificate, &files.key]);
        identity.chain(&self.files.client_ca).chain(&self.files.ca).cloned().collect()
    }

    fn reload(&self) -> Result<(), String> {
        self.read_again().map_err(|error| chain(&error))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Configs {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let identity = files.identity.as_ref().map(|files| Identity::read(files, &provider)).transpose()?;
        let server = identity.as_ref().map(|identity| Servers::new(files, identity, &provider)).transpose()?;
        let client = Arc::new(client(files, identity, &provider)?);
        Ok(Self { server, client })
    }
}

impl Servers {
    fn new(files: &TlsFiles, identity: &Identity, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(pem::roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| TlsError::unusable(path, chain(&error)))?)
            }
        };
        let (chain, key) = identity.parts();
        let config = builder.with_single_cert(chain, key)?;
        let speaking = |protocol: Protocol| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.alpn().to_vec()];
            Arc::new(config)
        };
        Ok(Self { http1: speaking(Protocol::Http1), http2: speaking(Protocol::Http2) })
    }
}

/// A certificate that belongs to its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn read(files: &IdentityFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let (chain, key) = (pem::certificates(&files.certificate)?, pem::key(&files.key)?);
        CertifiedKey::from_der(chain.clone(), key.clone_key(), provider)
            .map_err(|error| problem::pair(files, &error))?;
        problem::check_validity(&files.certificate, &chain, provider)?;
        Ok(Self { chain, key })
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

fn client(
    files: &TlsFiles,
    identity: Option<Identity>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let roots = match &files.ca {
        Some(path) => pem::roots(path)?,
        None => system_roots(),
    };
    // Without any nobody can be trusted, which is said when it matters: a server may have no need of clients.
    let builder = if roots.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        let path = files.ca.clone().unwrap_or_default();
        builder.with_webpki_verifier(verifier.map_err(|error| TlsError::unusable(&path, chain(&error)))?)
    };
    let mut config = match identity.as_ref().map(Identity::parts) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![Protocol::Http2.alpn().to_vec()];
    Ok(config)
}

/// Whom the system trusts.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(error = chain(error), "not all certificates that the system trusts can be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

// The integration tests make certificates in the same way.
#[cfg(test)]
#[path = "../../tests/it/certificates.rs"]
pub(crate) mod certificates;
#[cfg(test)]
mod tests;
