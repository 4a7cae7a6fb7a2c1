//! A part of a sink while it is written to a bucket. An object is there once its upload is completed, and not before: so a
//! part needs no other name meanwhile. Some bytes are in memory at a time, and some on their way.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::path::Path as Key;
use serde_json::{Value, json};
use tidemill_plans::bucket::Part;

use super::file_error;
use super::medium::BucketFiles;
use super::waiting::{Answer, ask, wait};
use crate::error::{EngineError, Result};

/// Bytes that are sent at a time. Stores take no fewer than 5 MiB but at the end, and 10,000 times.
const PART_BYTES: usize = 8 << 20;

/// How long giving up may take: nothing depends on it.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(5);

/// A part that is being written, for its writer and for whoever completes it.
#[derive(Clone)]
pub(super) struct Upload(Arc<Mutex<Sending>>);

/// What has been sent of a part, and what has not.
struct Sending {
    files: Arc<BucketFiles>,
    key: Key,
    /// Its number in the store.
    upload: String,
    bytes: Vec<u8>,
    sent: Vec<Part>,
    bytes_sent: u64,
    on_its_way: Option<Answer<Part>>,
    /// Whether something has been lost.
    has_failed: bool,
}

/// The guard of a part: unless it is kept or completed it is given up.
pub(super) struct PartObject {
    upload: Upload,
    path: PathBuf,
    is_kept: bool,
}

impl Upload {
    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sending = self.sending();
        if sending.bytes.len() == PART_BYTES {
            sending.send()?;
        }
        let taken = bytes.len().min(PART_BYTES - sending.bytes.len());
        sending.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sending {
    /// Sends what there is, once what was sent before has arrived.
    fn send(&mut self) -> io::Result<()> {
        self.arrive()?;
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes_sent += bytes.len() as u64;
        let (bucket, key) = (self.files.bucket.clone(), self.key.clone());
        let (upload, number) = (self.upload.clone(), self.sent.len());
        self.on_its_way = Some(ask(async move { bucket.put_part(&key, &upload, number, bytes).await })?);
        Ok(())
    }

    fn arrive(&mut self) -> io::Result<()> {
        if self.has_failed {
            return Err(io::Error::other("a part of it could not be written"));
        }
        if let Some(answer) = self.on_its_way.take() {
            // Until it is known.
            self.has_failed = true;
            self.sent.push(answer.wait()?);
            self.has_failed = false;
        }
        Ok(())
    }

    /// Sends the rest. An object has at least one part, which may have no bytes.
    fn finish(&mut self) -> io::Result<()> {
        self.arrive()?;
        if !self.bytes.is_empty() || self.sent.is_empty() {
            self.send()?;
            self.arrive()?;
        }
        Ok(())
    }
}

impl PartObject {
    /// Begins a part.
    pub(super) fn begin(files: &Arc<BucketFiles>, path: PathBuf) -> Result<Self> {
        let begun = files.key(&path).and_then(|key| {
            let (bucket, of_upload) = (files.bucket.clone(), key.clone());
            Ok((wait(async move { bucket.begin(&of_upload).await })?, key))
        });
        let (upload, key) = begun.map_err(file_error("write", &path))?;
        let sending = Sending {
            files: Arc::clone(files),
            key,
            upload,
            bytes: Vec::new(),
            sent: Vec::new(),
            bytes_sent: 0,
            on_its_way: None,
            has_failed: false,
        };
        Ok(Self { upload: Upload(Arc::new(Mutex::new(sending))), path, is_kept: false })
    }

    /// What is written to.
    pub(super) fn bytes(&self) -> Upload {
        self.upload.clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the part, of which all has been written, for [`complete`]. Returns what that needs.
    pub(super) fn keep(mut self) -> Result<String> {
        let mut sending = self.upload.sending();
        sending.finish().map_err(file_error("write", &self.path))?;
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parts: Vec<&str> = sending.sent.iter().map(|part| part.content_id.as_str()).collect();
        let kept =
            json!({ "part": name, "upload": sending.upload, "parts": parts, "bytes": sending.bytes_sent }).to_string();
        drop(sending);
        self.is_kept = true;
        Ok(kept)
    }
}

impl Drop for PartObject {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let sending = self.upload.sending();
        let (bucket, key, upload) = (sending.files.bucket.clone(), sending.key.clone(), sending.upload.clone());
        // Nobody sees what is left of it if this fails.
        let _ = ask(async move { bucket.give_up(&key, &upload).await }).and_then(|asked| asked.wait_for(GIVE_UP_LIMIT));
    }
}

/// What a part is called that was kept so.
pub(super) fn name_of(kept: &str) -> String {
    let kept: Value = serde_json::from_str(kept).unwrap_or_default();
    kept["part"].as_str().unwrap_or_default().to_owned()
}

/// Completes a part that was kept, unless that has been done before.
pub(super) fn complete(files: &BucketFiles, folder: &Path, kept: &str) -> Result<()> {
    let path = folder.join(name_of(kept));
    let broken = || EngineError::State(format!("what is kept of {} is no upload", path.display()));
    let kept: Value = serde_json::from_str(kept).map_err(|_| broken())?;
    let upload = kept["upload"].as_str().ok_or_else(broken)?.to_owned();
    let bytes = kept["bytes"].as_u64().ok_or_else(broken)?;
    let parts = kept["parts"].as_array().ok_or_else(broken)?;
    let part = |part: &Value| Some(Part { content_id: part.as_str()?.to_owned() });
    let parts: Vec<Part> = parts.iter().map(part).collect::<Option<_>>().ok_or_else(broken)?;
    let completed = files.key(&path).and_then(|key| {
        let bucket = files.bucket.clone();
        wait(async move { bucket.complete(&key, &upload, parts, bytes).await })
    });
    completed.map_err(file_error("complete", &path))
}
