//! Has what was made of files made anew when these have changed: certificates, and keys that others publish.
//!
//! By looking: that works with every file system, links that are set to another folder included. A certificate and its
//! key change one after the other, so what cannot be used is looked at again until it can.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tracing::{info, warn};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often what has not changed is looked at nevertheless: whether it is valid still.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is made of files, and is in use while they are read again.
pub trait Renewable: Send + 'static {
    /// What it is, as the log has it: `certificates`.
    fn what(&self) -> &'static str;

    /// The files.
    fn files(&self) -> Vec<PathBuf>;

    /// Takes the files as they are now. What was in use stays if they cannot be used; the error says why not. Called on a
    /// thread that may wait.
    fn reload(&self) -> Result<(), String>;
}

/// Keeps something up to date; dropping it leaves that as it is.
#[derive(Debug)]
#[must_use = "files are no longer looked at when it is dropped"]
pub struct Renewal {
    /// The one task; a `JoinSet` aborts what it holds.
    _task: JoinSet<()>,
}

impl Renewal {
    /// Looks at the files from now on, which have been read. Within a tokio runtime.
    pub fn start(renewable: impl Renewable) -> Self {
        let mut task = JoinSet::new();
        task.spawn(watch(Watched::new(renewable)));
        Self { _task: task }
    }
}

async fn watch<R: Renewable>(mut watched: Watched<R>) {
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
struct Watched<R> {
    renewable: R,
    stamps: Vec<Option<Stamp>>,
    /// Why what is in the files now is not in use.
    unused: Option<String>,
    /// How long they have been as they are.
    age: Duration,
}

/// What tells a file from another in its place.
type Stamp = (SystemTime, u64);

impl<R: Renewable> Watched<R> {
    fn new(renewable: R) -> Self {
        Self { stamps: stamps(&renewable), unused: None, age: Duration::ZERO, renewable }
    }

    fn look(&mut self) {
        let stamps = stamps(&self.renewable);
        let is_new = stamps != self.stamps;
        self.age += INTERVAL;
        if !is_new && self.unused.is_none() && self.age < DAY {
            return;
        }
        (self.stamps, self.age) = (stamps, Duration::ZERO);
        match self.renewable.reload() {
            Ok(()) if is_new || self.unused.is_some() => {
                self.unused = None;
                info!(what = self.renewable.what(), "files have changed and are in use");
            }
            Ok(()) => {}
            Err(error) => self.note(error),
        }
    }

    /// Says why the new files are not used, once.
    fn note(&mut self, why: String) {
        if self.unused.as_ref() != Some(&why) {
            warn!(
                what = self.renewable.what(),
                error = why,
                "files cannot be used; what was there before stays in use"
            );
        }
        self.unused = Some(why);
    }
}

fn stamps(renewable: &impl Renewable) -> Vec<Option<Stamp>> {
    renewable.files().iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes texts that do not end with a comma.
    struct Texts {
        path: PathBuf,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Renewable for Texts {
        fn what(&self) -> &'static str {
            "texts"
        }

        fn files(&self) -> Vec<PathBuf> {
            vec![self.path.clone()]
        }

        fn reload(&self) -> Result<(), String> {
            let text = std::fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
            if text.ends_with(',') {
                return Err(text);
            }
            self.taken.lock().unwrap().push(text);
            Ok(())
        }
    }

    #[test]
    fn what_has_changed_is_taken_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let (path, taken) = (folder.path().join("file"), Arc::new(Mutex::new(Vec::new())));
        std::fs::write(&path, "a").unwrap();
        let mut watched = Watched::new(Texts { path: path.clone(), taken: Arc::clone(&taken) });
        let mut look = |text: &str| {
            std::fs::write(&path, text).unwrap();
            watched.look();
            taken.lock().unwrap().concat()
        };
        assert_eq!(look("ab"), "ab");
        // A half of it, and then nothing for a while.
        assert_eq!((look("abc,"), look("abc,")), (String::from("ab"), String::from("ab")));
        assert_eq!(look("abcd,e"), "ababcd,e");
        std::fs::remove_file(folder.path().join("file")).unwrap();
        watched.look();
        assert!(watched.unused.is_some());
        // It is valid still, as far as is known.
        std::fs::write(folder.path().join("file"), "f").unwrap();
        watched.look();
        assert_eq!((taken.lock().unwrap().len(), watched.unused.is_none()), (3, true));
        watched.look();
        watched.age = DAY;
        watched.look();
        assert_eq!(taken.lock().unwrap().len(), 4);
    }
}
