//! Where a source begins that has no end and keeps what has come before: `scan_startup_mode`.
//!
//! It is about a job's first attempt alone. A job that goes on from a checkpoint or a savepoint goes on from where it was,
//! whatever the option says by then.

use super::{Bounds, find, is_bounded, option};
use crate::error::{PlanError, Result};

/// The option.
pub const STARTUP_MODE_OPTION: &str = "scan_startup_mode";

/// The words of [`StartupMode`], the default first.
pub(super) const WORDS: &[&str] = &["earliest", "latest", "backfill"];

/// Where a source begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartupMode {
    /// With what is there: it and what comes are one live stream.
    Earliest,
    /// With what comes after the job began.
    Latest,
    /// With what is there, as a bounded table whose rows come in any order, so that none of them is late; then live.
    Backfill,
}

impl StartupMode {
    /// What a source's options say, which have been checked.
    #[must_use]
    pub fn of(options: &[(String, String)]) -> Self {
        match option(options, STARTUP_MODE_OPTION) {
            Some("latest") => Self::Latest,
            Some("backfill") => Self::Backfill,
            _ => Self::Earliest,
        }
    }
}

/// Whether it is an option of sources with this connector.
fn is_known_of(connector: &str) -> bool {
    let options = find(connector).ok().and_then(|spec| spec.source).unwrap_or_default();
    options.iter().any(|option| option.name == STARTUP_MODE_OPTION)
}

/// Refuses the option where it means nothing.
pub(super) fn check(connector: &str, options: &[(String, String)]) -> Result<()> {
    if option(options, STARTUP_MODE_OPTION).is_none() || (is_known_of(connector) && !is_bounded(connector, options)?) {
        return Ok(());
    }
    let reason = match find(connector)?.bounds {
        Bounds::Without(without) if is_known_of(connector) => {
            format!("this one ends: give the option '{}', or leave '{STARTUP_MODE_OPTION}' out", without.join("' or '"))
        }
        _ => format!("connector '{connector}' has none of these; leave it out"),
    };
    let message = format!(
        "option '{STARTUP_MODE_OPTION}' says where a source begins that has no end and keeps what has come before, which are \
         connector 'push' and connector 'files' with the option 'watch'; {reason}"
    );
    Err(PlanError::given_option(STARTUP_MODE_OPTION, message))
}
