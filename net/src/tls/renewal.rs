//! Reads certificates again when their files have changed.
//!
//! By looking: that works with every file system, links that are set to another folder included. A certificate and its
//! key change one after the other, so what cannot be used is looked at again until it can.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tidemill_plans::error::chain;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{Tls, TlsFiles};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often a certificate that has not changed is looked at nevertheless: whether it is valid still.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keeps TLS up to date; dropping it leaves TLS as it is.
#[derive(Debug)]
#[must_use = "files are no longer looked at when it is dropped"]
pub struct Renewal {
    /// The one task; a `JoinSet` aborts what it holds.
    _task: JoinSet<()>,
}

impl Renewal {
    pub(super) fn start(tls: Tls) -> Self {
        let mut task = JoinSet::new();
        task.spawn(watch(tls));
        Self { _task: task }
    }
}

async fn watch(tls: Tls) {
    let mut watched = Watched { stamps: stamps(&tls.files), unused: None, age: Duration::ZERO, tls };
    loop {
        tokio::time::sleep(INTERVAL).await;
        let looking = tokio::task::spawn_blocking(move || {
            watched.look();
            watched
        });
        // It ends with the runtime.
        let Ok(looked) = looking.await else { return };
        watched = looked;
    }
}

/// Files, and what is known of them.
struct Watched {
    tls: Tls,
    stamps: Vec<Option<Stamp>>,
    /// Why what is in the files now is not in use.
    unused: Option<String>,
    /// How long they have been as they are.
    age: Duration,
}

/// What tells a file from another in its place.
type Stamp = (SystemTime, u64);

impl Watched {
    fn look(&mut self) {
        let stamps = stamps(&self.tls.files);
        let is_new = stamps != self.stamps;
        self.age += INTERVAL;
        if !is_new && self.unused.is_none() && self.age < DAY {
            return;
        }
        (self.stamps, self.age) = (stamps, Duration::ZERO);
        match self.tls.reload() {
            Ok(()) if is_new || self.unused.is_some() => {
                self.unused = None;
                info!("certificates have changed and are in use");
            }
            Ok(()) => {}
            Err(error) => self.note(chain(&error)),
        }
    }

    /// Says why the new files are not used, once.
    fn note(&mut self, why: String) {
        if self.unused.as_ref() != Some(&why) {
            warn!(error = why, "the certificates cannot be used; those from before stay in use");
        }
        self.unused = Some(why);
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    let identity = files.identity.iter().flat_map(|files| [&files.certificate, &files.key]);
    identity.chain(&files.client_ca).chain(&files.ca).map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}
