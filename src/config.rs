//! The only code that reads the environment and the files named on the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidemill_net::Tls;

use crate::error::{Result, TidemillError};

/// Which log lines go to standard error, in the syntax of `tracing-subscriber`'s filters.
#[must_use]
pub fn log_filter() -> String {
    std::env::var("TIDEMILL_LOG").unwrap_or_else(|_| String::from("warn"))
}

/// What the environment says of object stores, in lower case: the variables that AWS's own tools read.
#[must_use]
pub fn storage_options() -> Vec<(String, String)> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let aws = variables.filter(|(name, _)| name.starts_with("AWS_"));
    aws.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

/// Where workers put state that has no room in memory: a folder on a local disk.
#[must_use]
pub fn scratch_folder() -> PathBuf {
    std::env::var_os("TIDEMILL_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Where what a person has typed is remembered (specifications.freedesktop.org/basedir), if there is such a place.
#[must_use]
pub fn state_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("tidemill"))
}

/// The text of a file.
pub fn read_script(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| TidemillError::ReadFile { path: path.to_path_buf(), source })
}

/// A path that means the same to processes that run elsewhere.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|source| TidemillError::ReadFile { path: path.to_path_buf(), source })
}

/// What stands between an endpoint and those who reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// Whether nobody can listen in.
    pub is_encrypted: bool,
    /// Whether it is known who comes.
    pub is_authenticated: bool,
}

impl Protection {
    /// Nothing does.
    pub const NONE: Self = Self { is_encrypted: false, is_authenticated: false };

    /// TLS, if there is any. It tells who comes if it asks for certificates.
    #[must_use]
    pub fn by(tls: Option<&Tls>) -> Self {
        Self { is_encrypted: tls.is_some(), is_authenticated: tls.is_some_and(Tls::asks_for_certificates) }
    }

    /// What is missing for other machines, and what would give it.
    fn missing(self) -> Option<&'static str> {
        match (self.is_encrypted, self.is_authenticated) {
            (true, true) => None,
            (true, false) => Some(
                "there is no authentication, for TLS alone lets everybody in: --tls-client-ca lets those in who show a \
                 certificate",
            ),
            (false, true) => Some("there is no encryption: --tls-cert and --tls-key turn it on"),
            (false, false) => Some(
                "there is neither encryption nor authentication: --tls-cert and --tls-key turn the first on, and \
                 --tls-client-ca has clients show a certificate",
            ),
        }
    }
}

/// An error if an endpoint can be reached from other machines without protection, and nobody has said that it may be.
pub fn check_bind(address: SocketAddr, protection: Protection, insecure: bool) -> Result<()> {
    match protection.missing() {
        Some(missing) if !insecure && !address.ip().is_loopback() => {
            Err(TidemillError::PublicBind { address, missing })
        }
        _ => Ok(()),
    }
}
