//! The only code that reads the environment and the files named on the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidemill_net::Tls;
use tidemill_plans::cluster_secret::{CLUSTER_SECRET_BYTES_MIN, ClusterSecret};

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

/// How much memory this process can have: the machine's, or less if its control group has less.
#[must_use]
pub fn memory_bytes() -> u64 {
    let kilobytes = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:").map(str::to_owned))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(kilobytes).map(|kilobytes| kilobytes << 10);
    // A group without a limit says `max`.
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    machine.into_iter().chain(group).min().unwrap_or(u64::MAX)
}

/// How much of that queries as a whole may hold.
#[must_use]
pub fn batch_memory() -> u64 {
    memory_bytes() / 4 * 3
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

/// The password in a file, without the end of its line; without a file, that of the environment.
pub fn password(file: Option<&Path>) -> Result<Option<String>> {
    match file {
        Some(path) => Ok(Some(read_script(path)?.trim_end_matches(['\r', '\n']).to_owned())),
        None => Ok(std::env::var("TIDEMILL_PASSWORD").ok()),
    }
}

/// The secret of a cluster, in a file.
pub fn cluster_secret(path: &Path) -> Result<ClusterSecret> {
    let wrong = || TidemillError::ClusterSecret { path: path.to_path_buf(), bytes_min: CLUSTER_SECRET_BYTES_MIN };
    ClusterSecret::new(&read_script(path)?).ok_or_else(wrong)
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

    /// TLS, if there is any, which tells who comes if it asks for certificates; or passwords and secrets do.
    #[must_use]
    pub fn by(tls: Option<&Tls>, asks_for_secrets: bool) -> Self {
        let is_authenticated = asks_for_secrets || tls.is_some_and(Tls::asks_for_certificates);
        Self { is_encrypted: tls.is_some(), is_authenticated }
    }

    /// What is missing for other machines, and what would give it.
    fn missing(self) -> Option<&'static str> {
        match (self.is_encrypted, self.is_authenticated) {
            (true, true) => None,
            (true, false) => Some(
                "there is no authentication, for TLS alone lets everybody in: --tls-client-ca lets those in who show a \
                 certificate, users (--init-user) or a worker's --cluster-secret those who know it",
            ),
            (false, true) => Some("there is no encryption: --tls-cert and --tls-key turn it on"),
            (false, false) => Some(
                "there is neither encryption nor authentication: --tls-cert and --tls-key turn the first on, and \
                 --tls-client-ca, users (--init-user) or a worker's --cluster-secret the second",
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
