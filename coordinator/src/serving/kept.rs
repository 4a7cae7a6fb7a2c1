//! The weights of served models on the object store of the metadata, for the next coordinator: a file a model.
//!
//! They are written a second at most after they have come, the newest of each model only: trainers may publish faster
//! than a store takes 16 MiB. So a coordinator that is killed leaves versions of a second before.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use tidemill_plans::PlanError;
use tidemill_plans::catalog::ModelWeights;
use tidemill_plans::codec;
use tidemill_plans::error::chain;
use tidemill_plans::storage::Storage;
use tokio::time::timeout;
use tracing::warn;

use crate::checkpoints::flush;
use crate::error::{CoordinatorError, Result};
use crate::file_name::file_name;

/// The folder of all files.
const FOLDER: &str = "models";

/// What the names of files end with.
const SUFFIX: &str = ".weights";

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

    /// The weights of the models of these names. Those of others are removed: they were dropped when their coordinator
    /// ended.
    pub(super) async fn read(&self, names: &BTreeSet<String>) -> Result<Vec<ModelWeights>> {
        let wanted: BTreeSet<String> = names.iter().map(|name| path_of(name)).collect();
        let mut found = Vec::new();
        for path in self.storage.list(FOLDER).await? {
            if !wanted.contains(&path) {
                self.storage.delete(&path).await?;
                continue;
            }
            match self.storage.get(&path).await?.map(|bytes| read(&bytes, &path)) {
                Some(Ok(weights)) => found.push(weights),
                // It answers again with its next version.
                Some(Err(error)) => warn!(path, error = chain(&error), "weights of a model are passed over"),
                None => {}
            }
        }
        Ok(found)
    }

    /// Keeps what a model has by now; removes what it had if it is gone.
    pub(super) async fn keep(&self, model: &str, weights: Option<&ModelWeights>) -> Result<()> {
        let path = path_of(model);
        let kept = timeout(STORAGE_LIMIT, async {
            match weights {
                Some(weights) => {
                    self.storage.put(&path, bytes(weights)?).await?;
                    flush(&self.storage, &path).await
                }
                None => Ok(self.storage.delete(&path).await?),
            }
        });
        kept.await.unwrap_or(Err(CoordinatorError::Lost { part: "store of models" }))
    }
}

impl fmt::Debug for KeptModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptModels").finish_non_exhaustive()
    }
}

fn path_of(model: &str) -> String {
    // Object stores have a meaning of their own for a percent sign.
    format!("{FOLDER}/{}{SUFFIX}", file_name(model, '-'))
}

/// Weights and their checksum.
fn bytes(weights: &ModelWeights) -> Result<Vec<u8>> {
    let mut bytes = codec::encode(weights)?;
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    Ok(bytes)
}

fn read(bytes: &[u8], path: &str) -> Result<ModelWeights, PlanError> {
    let damaged = || PlanError::Checkpoint { path: path.to_owned(), reason: String::from("its checksum is wrong") };
    let (content, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    match crc32fast::hash(content) == u32::from_le_bytes(*checksum) {
        true => codec::decode(content),
        false => Err(damaged()),
    }
}
