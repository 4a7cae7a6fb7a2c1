//! Savepoints that need rows of a log. They are their owners', who tell nobody when they delete one: so what each needs
//! is noted in the log's folder, and looked for when it is in the way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use tidemill_plans::savepoint::SAVEPOINT_FILE;
use tidemill_plans::storage::Storage;
use tokio::time::timeout;

/// The file, and the one that takes its place.
const FILE: &str = "savepoints.json";
const NEXT: &str = "savepoints.json.inprogress";

/// How long a storage may take to say whether it has a savepoint.
const STORAGE_LIMIT: Duration = Duration::from_secs(10);

/// The segments from which on savepoints need the log in a folder, by where they are.
pub(super) fn read(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    match fs::read(folder.join(FILE)) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Has them take the place of those before.
pub(super) fn write(folder: &Path, holds: &BTreeMap<String, u64>) -> io::Result<()> {
    let next = folder.join(NEXT);
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec(holds).map_err(io::Error::from)?)?;
    file.sync_all()?;
    fs::rename(next, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

/// Whether there is a savepoint no more. One that cannot be asked for may be.
pub(super) async fn is_gone(url: &str) -> bool {
    let looked = async {
        match Storage::open_existing(url)? {
            Some(storage) => Ok::<_, tidemill_plans::PlanError>(storage.get(SAVEPOINT_FILE).await?.is_none()),
            None => Ok(true),
        }
    };
    matches!(timeout(STORAGE_LIMIT, looked).await, Ok(Ok(true)))
}
