//! Secrets: values that statements name, and that only workers and the systems they connect to get to see.
//!
//! At rest they are sealed with ChaCha20-Poly1305 (RFC 8439) under a key that is in a file of its own, bound to their
//! names: so neither the journal nor a copy of it has them. Jobs, plans and the catalog have references; what these
//! stand for is put in on the way to a worker, and taken out of what workers say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tidemill_plans::ErrorDomain;
use tidemill_plans::codec;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::protocol::{Reply, WorkerLink, WorkerRequest, WorkerResponse};
use tidemill_plans::redaction;
use tidemill_sql::access::{Hidden, secret_of};

use super::{Access, random};
use crate::error::{CoordinatorError, Result};
use crate::meta::MetaChange;

/// What the keys of secrets begin with.
const SECRET: &str = "access/secret/";

/// The file of the key, in the folder of the metadata.
const KEY_FILE: &str = "secret.key";

/// A secret has so many bytes: shorter ones would be found by chance in what is told, longer ones are files.
const BYTES: std::ops::RangeInclusive<usize> = 4..=65_536;

/// The secrets of a coordinator.
pub(super) struct Secrets {
    /// The file of the key; without one it is gone with the process, as the metadata are.
    key_file: Option<PathBuf>,
    key: Mutex<Option<Arc<LessSafeKey>>>,
    values: RwLock<Arc<BTreeMap<String, Hidden>>>,
}

impl Secrets {
    /// Without secrets yet; the key is in this file, or in the folder.
    pub(super) fn new(key_file: Option<PathBuf>, data_dir: Option<&Path>) -> Self {
        let key_file = key_file.or_else(|| data_dir.map(|folder| folder.join(KEY_FILE)));
        Self { key_file, key: Mutex::default(), values: RwLock::default() }
    }

    /// Reads what the metadata have.
    pub(super) fn read(&self, stored: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut values = BTreeMap::new();
        for (key, sealed) in stored {
            let Some(name) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(SECRET)) else { continue };
            values.insert(name.to_owned(), self.open(name, codec::decode(sealed)?)?);
        }
        redaction::learn(values.values().map(Hidden::reveal));
        *self.values.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(values);
        Ok(())
    }

    /// The change that keeps a secret.
    pub(super) fn keep(&self, name: &str, value: &Hidden) -> Result<MetaChange> {
        let mut bytes = value.reveal().as_bytes().to_vec();
        if !BYTES.contains(&bytes.len()) {
            let message = format!("a secret has {} to {} bytes", BYTES.start(), BYTES.end());
            return Err(CoordinatorError::Statement { message });
        }
        let nonce: [u8; NONCE_LEN] = random()?;
        let sealed = self.key()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(name.as_bytes()),
            &mut bytes,
        );
        sealed.map_err(|_| CoordinatorError::Lost { part: "seal of secrets" })?;
        let kept = codec::encode(&[&nonce[..], &bytes].concat())?;
        Ok((format!("{SECRET}{name}").into_bytes(), Some(kept)))
    }

    /// The names of all secrets.
    pub(super) fn names(&self) -> Vec<String> {
        self.values().keys().cloned().collect()
    }

    /// A text without any secret in it.
    pub(super) fn redact(&self, text: &str) -> String {
        let values = self.values();
        redaction::without(text, values.values().map(Hidden::reveal)).into_owned()
    }

    /// Puts values in the places of what stands for them; returns these values.
    fn fill(&self, graph: &mut DataflowGraph) -> Result<Vec<String>, String> {
        let mut filled = BTreeSet::new();
        for node in &mut graph.nodes {
            if let Some(options) = node.kind.options_mut() {
                filled.extend(self.fill_options(options, &node.name)?);
            }
        }
        Ok(filled.into_iter().collect())
    }

    /// Puts values in the places of what stands for them among the options of something; returns these values.
    fn fill_options(&self, options: &mut [(String, String)], of: &str) -> Result<Vec<String>, String> {
        let values = self.values();
        let mut filled = Vec::new();
        for (option, value) in options {
            let Some(name) = secret_of(value) else { continue };
            let secret = values.get(name).ok_or_else(|| {
                format!("the option '{option}' of {of} needs the secret '{name}', which is not there")
            })?;
            *value = secret.reveal().to_owned();
            filled.push(value.clone());
        }
        Ok(filled)
    }

    fn open(&self, name: &str, mut kept: Vec<u8>) -> Result<Hidden> {
        let wrong = || CoordinatorError::SecretKey {
            path: self.key_file.clone().unwrap_or_default(),
            reason: format!("it does not open the secret '{name}', which was sealed with another"),
        };
        let (nonce, sealed) = kept.split_first_chunk_mut::<NONCE_LEN>().ok_or_else(wrong)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key()?.open_in_place(nonce, Aad::from(name.as_bytes()), sealed).map_err(|_| wrong())?;
        Ok(Hidden::new(String::from_utf8_lossy(opened).into_owned()))
    }

    /// The key, which is made when it is needed for the first time.
    fn key(&self) -> Result<Arc<LessSafeKey>> {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*key {
            return Ok(Arc::clone(key));
        }
        let bytes = match &self.key_file {
            Some(path) => read_or_make(path)?,
            None => random()?,
        };
        let made = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map(LessSafeKey::new);
        let made = Arc::new(made.map_err(|_| CoordinatorError::Lost { part: "seal of secrets" })?);
        Ok(Arc::clone(key.insert(made)))
    }

    fn values(&self) -> Arc<BTreeMap<String, Hidden>> {
        Arc::clone(&self.values.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Access {
    /// Puts values in the places of secrets that stand among the options of something: for what runs in this process.
    pub(crate) fn fill_options(&self, options: &mut [(String, String)], of: &str) -> Result<(), String> {
        self.secrets.fill_options(options, of).map(drop)
    }
}

/// The change that forgets a secret.
pub(super) fn forget(name: &str) -> MetaChange {
    (format!("{SECRET}{name}").into_bytes(), None)
}

/// The key in a file, which nobody else may read.
fn read_or_make(path: &Path) -> Result<[u8; 32]> {
    let failed = |reason: String| CoordinatorError::SecretKey { path: path.to_owned(), reason };
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            return Err(failed(String::from("others may read it: chmod 600 keeps it to its owner")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return make(path).map_err(|error| failed(format!("it cannot be written: {error}")))?;
        }
        Err(error) => return Err(failed(format!("it cannot be read: {error}"))),
    }
    let text = fs::read_to_string(path).map_err(|error| failed(format!("it cannot be read: {error}")))?;
    let bytes = BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| failed(String::from("it is not 32 bytes in base64: openssl rand -base64 32 makes one")))
}

fn make(path: &Path) -> std::io::Result<Result<[u8; 32]>> {
    let bytes: [u8; 32] = match random() {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(BASE64_STANDARD.encode(bytes).as_bytes())?;
    // Without it, what is sealed with it is lost.
    file.sync_all()?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(Ok(bytes))
}

/// The way to a worker, on which references to secrets become what they stand for, and back.
pub(crate) struct SecretLink {
    access: Arc<Access>,
    link: Arc<dyn WorkerLink>,
}

impl SecretLink {
    /// The same way, with these secrets.
    pub(crate) fn new(access: Arc<Access>, link: Arc<dyn WorkerLink>) -> Self {
        Self { access, link }
    }
}

impl WorkerLink for SecretLink {
    fn request(&self, mut request: WorkerRequest) -> Reply<WorkerResponse> {
        if let WorkerRequest::Deploy(_, deployment) = &mut request {
            match self.access.secrets.fill(&mut deployment.graph) {
                Ok(filled) => deployment.secrets = filled,
                Err(message) => {
                    return Box::pin(async { Ok(WorkerResponse::Failed { domain: ErrorDomain::User, message }) });
                }
            }
        }
        let (access, answer) = (Arc::clone(&self.access), self.link.request(request));
        Box::pin(async move {
            Ok(match answer.await? {
                WorkerResponse::Failed { domain, message } => {
                    WorkerResponse::Failed { domain, message: access.redact(&message) }
                }
                WorkerResponse::Damaged { message } => WorkerResponse::Damaged { message: access.redact(&message) },
                answer => answer,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::two_stage_graph;

    fn keep(secrets: &Secrets, name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
        let (key, kept) = secrets.keep(name, &Hidden::new(value.to_owned())).unwrap();
        (key, kept.unwrap())
    }

    #[test]
    fn what_is_kept_is_sealed_and_comes_back_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(None, Some(folder.path()));
        let stored = [keep(&secrets, "a", "hush hush"), keep(&secrets, "b", "hush hush")];
        assert_ne!(stored[0].1, stored[1].1);
        assert!(stored.iter().all(|(_, kept)| !kept.windows(4).any(|bytes| bytes == b"hush")));
        let path = folder.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let again = Secrets::new(None, Some(folder.path()));
        again.read(&stored).unwrap();
        assert_eq!(again.names(), ["a", "b"]);
        assert_eq!(again.redact("it is hush hush, hush"), "it is ***, hush");
        let swapped = [(stored[0].0.clone(), stored[1].1.clone())];
        assert!(again.read(&swapped).unwrap_err().to_string().contains("does not open the secret 'a'"));
        let other = Secrets::new(Some(folder.path().join("other")), None);
        assert!(other.read(&stored).unwrap_err().to_string().contains("sealed with another"));
    }

    #[test]
    fn keys_that_others_may_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let refused = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let secrets = Secrets::new(Some(path.clone()), None);
            secrets.keep("a", &Hidden::new(String::from("hush hush"))).unwrap_err().to_string()
        };
        assert!(refused(&BASE64_STANDARD.encode([7; 32]), 0o640).contains("chmod 600"));
        assert!(refused("short", 0o600).contains("openssl rand"));
        let secrets = Secrets::new(None, None);
        assert!(secrets.keep("a", &Hidden::new(String::from("abc"))).is_err());
    }

    #[test]
    fn references_become_values() {
        let mut graph = two_stage_graph(1, 1);
        let options = graph.nodes[0].kind.options_mut().unwrap();
        *options = vec![
            (String::from("url"), tidemill_sql::access::secret_reference("a")),
            (String::from("path"), String::from("a")),
        ];
        let secrets = Secrets::new(None, None);
        let missing = secrets.fill(&mut graph.clone()).unwrap_err();
        assert!(missing.contains("needs the secret 'a', which is not there"), "{missing}");
        secrets.read(&[keep(&secrets, "a", "hush hush")]).unwrap();
        assert_eq!(secrets.fill(&mut graph).unwrap(), ["hush hush"]);
        let filled: Vec<&str> =
            graph.nodes[0].kind.options_mut().unwrap().iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(filled, ["hush hush", "a"]);
    }
}
