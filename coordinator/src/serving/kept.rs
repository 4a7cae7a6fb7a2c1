//! Served models on the object store of the metadata, for the next coordinator: a file for each version, and one for the
//! aliases of them.
//!
//! They are written a second at most after they have come, the newest of each model only: trainers may publish faster
//! than a store takes 16 MiB. So a coordinator that is killed leaves versions of a second before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use tidemill_plans::PlanError;
use tidemill_plans::catalog::ModelWeights;
use tidemill_plans::checksum::{checked, with_checksum};
use tidemill_plans::codec;
use tidemill_plans::error::chain;
use tidemill_plans::storage::Storage;
use tokio::time::timeout;
use tracing::warn;

use super::Content;
use super::versions::Part;
use crate::checkpoints::flush;
use crate::error::{CoordinatorError, Result};
use crate::file_name::file_name;

/// The folder of all files.
const FOLDER: &str = "models";

/// What the names of files end with that have weights.
const WEIGHTS: &str = "weights";

/// What those end with that have aliases.
const ALIASES: &str = "aliases";

/// How long the store may take for one model.
const STORAGE_LIMIT: Duration = Duration::from_secs(60);

/// Where weights are kept.
pub(super) struct KeptModels {
    storage: Storage,
}

impl KeptModels {
    /// Below the folder of the metadata.
    pub(super) fn below(folder: &Path) -> Result<Self> {
        Ok(Self { storage: Storage::open(&folder.display().to_string())? })
    }

    /// What there is of the models of these names. What there is of others is removed: they were dropped when their
    /// coordinator ended.
    pub(super) async fn read(&self, names: &BTreeSet<String>) -> Result<Vec<(String, Found)>> {
        let wanted: BTreeMap<String, &String> = names.iter().map(|name| (file_name(name, '-'), name)).collect();
        let mut all = Vec::new();
        for path in self.storage.list(FOLDER).await? {
            let Some((name, part)) = part_of(&path).and_then(|(file, part)| Some((wanted.get(file)?, part))) else {
                self.storage.delete(&path).await?;
                continue;
            };
            match self.storage.get(&path).await?.map(|bytes| Found::read(&bytes, &part, &path)) {
                Some(Ok(found)) => all.push(((*name).clone(), found)),
                // It answers again with its next version.
                Some(Err(error)) => warn!(path, error = chain(&error), "a file of a model is passed over"),
                None => {}
            }
        }
        Ok(all)
    }

    /// Keeps what there is of a model by now; removes what there was if it is gone.
    pub(super) async fn keep(&self, model: &str, part: &Part, content: Option<Content>) -> Result<()> {
        let path = path_of(model, part);
        let kept = timeout(STORAGE_LIMIT, async {
            match content {
                Some(content) => {
                    self.storage.put(&path, content.bytes()?).await?;
                    flush(&self.storage, &path).await
                }
                None => Ok(self.storage.delete(&path).await?),
            }
        });
        kept.await.unwrap_or(Err(CoordinatorError::Lost { part: "store of models" }))
    }
}

/// What was in a file.
pub(super) enum Found {
    Newest(ModelWeights),
    Version(ModelWeights),
    Aliases(BTreeMap<String, i64>),
}

impl Found {
    fn read(bytes: &[u8], part: &Part, path: &str) -> Result<Self, PlanError> {
        let damaged = || PlanError::Checkpoint { path: path.to_owned(), reason: String::from("its checksum is wrong") };
        let content = checked(bytes).ok_or_else(damaged)?;
        Ok(match part {
            Part::Newest => Self::Newest(codec::decode(content)?),
            Part::Version(_) => Self::Version(codec::decode(content)?),
            Part::Aliases => Self::Aliases(codec::decode(content)?),
        })
    }
}

impl Content {
    /// It and its checksum.
    fn bytes(&self) -> Result<Vec<u8>> {
        Ok(with_checksum(match self {
            Self::Weights(served) => codec::encode(served.weights.as_ref())?,
            Self::Aliases(aliases) => codec::encode(aliases)?,
        }))
    }
}

impl fmt::Debug for KeptModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptModels").finish_non_exhaustive()
    }
}

/// Where a part of a model is. File names have no dots of their own, and object stores have a meaning of their own for a
/// percent sign.
fn path_of(model: &str, part: &Part) -> String {
    let name = file_name(model, '-');
    match part {
        Part::Newest => format!("{FOLDER}/{name}.{WEIGHTS}"),
        Part::Version(version) => format!("{FOLDER}/{name}.{version}.{WEIGHTS}"),
        Part::Aliases => format!("{FOLDER}/{name}.{ALIASES}"),
    }
}

/// The name of a model's files, and which of them a path is.
fn part_of(path: &str) -> Option<(&str, Part)> {
    let file = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let mut parts = file.split('.');
    let name = parts.next()?;
    let part = match (parts.next()?, parts.next(), parts.next()) {
        (WEIGHTS, None, None) => Part::Newest,
        (ALIASES, None, None) => Part::Aliases,
        (version, Some(WEIGHTS), None) => Part::Version(version.parse().ok()?),
        _ => return None,
    };
    Some((name, part))
}
