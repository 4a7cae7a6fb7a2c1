//! What the processes of a cluster show each other, so that nobody else is taken for one of them.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

/// The header that it is in.
pub const CLUSTER_SECRET_HEADER: &str = "tidemill-cluster-secret";

/// No secret is shorter: it must not be guessed.
pub const CLUSTER_SECRET_BYTES_MIN: usize = 16;

/// The secret of a cluster. It is in no message, and not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret(Arc<str>);

impl ClusterSecret {
    /// The secret that a text is, without the spaces and line ends around it; nothing if it is too short, or cannot be
    /// in a header.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_possible = text.len() >= CLUSTER_SECRET_BYTES_MIN && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_possible.then(|| Self(text.into()))
    }

    /// What is to be sent.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a text is the secret. How long that takes tells nothing but how long the secret is.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let (own, shown) = (self.0.as_bytes(), shown.as_bytes());
        own.len() == shown.len() && black_box(own.iter().zip(shown).fold(0, |all, (a, b)| all | (a ^ b))) == 0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_knows_itself_and_is_not_printed() {
        let secret = ClusterSecret::new("  0123456789abcdef\n").unwrap();
        assert!(secret.is("0123456789abcdef") && !secret.is("0123456789abcdeg") && !secret.is("0123456789abcde"));
        assert!(!format!("{secret:?}").contains("0123"));
        assert!(ClusterSecret::new("short").is_none() && ClusterSecret::new("0123456789 abcdef").is_none());
    }
}
