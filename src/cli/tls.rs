//! What commands take that speak TLS: files of certificates and keys.

use std::path::PathBuf;

use clap::Args;
use tidemill_net::tls::IdentityFiles;
use tidemill_net::{Address, Connector, Tls, TlsFiles};

use crate::error::{Result, TidemillError};

/// Of a process that listens.
#[derive(Debug, Args)]
pub(super) struct ServerTls {
    /// Speak TLS and show this certificate, in PEM, with those behind it that lead to one that others trust. The same is
    /// shown where this process connects to others. All files of TLS are read again when they change.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let only those in, clients and workers, who show a certificate that one of these has signed.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Who has signed the certificates of the processes that this one connects to; without it, whom the system trusts.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
}

/// Of a client.
#[derive(Debug, Args)]
pub(super) struct ClientTls {
    /// Who has signed the server's certificate, in PEM, if the URL is grpc+tls://; without it, whom the system trusts.
    #[arg(long, global = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Show the server this certificate, in PEM.
    #[arg(long, global = true, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, global = true, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl ServerTls {
    /// Reads the files, if any were given.
    pub(super) fn open(&self) -> Result<Option<Tls>> {
        let Some(identity) = identity(&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let files =
            TlsFiles { identity: Some(identity), client_ca: self.tls_client_ca.clone(), ca: self.tls_ca.clone() };
        Ok(Some(Tls::open(files)?))
    }
}

impl ClientTls {
    /// What connects to the server at `url`.
    pub(super) fn connector(&self, url: &str) -> Result<Connector> {
        let files =
            TlsFiles { identity: identity(&self.tls_cert, &self.tls_key), client_ca: None, ca: self.tls_ca.clone() };
        let has_tls = Address::from_url(url).is_some_and(|address| address.has_tls);
        match (has_tls, files == TlsFiles::default()) {
            (true, _) => Ok(Connector::new(Some(Tls::open(files)?))),
            (false, true) => Ok(Connector::default()),
            (false, false) => Err(TidemillError::PlainUrl(url.to_owned())),
        }
    }
}

fn identity(certificate: &Option<PathBuf>, key: &Option<PathBuf>) -> Option<IdentityFiles> {
    Some(IdentityFiles { certificate: certificate.clone()?, key: key.clone()? })
}
