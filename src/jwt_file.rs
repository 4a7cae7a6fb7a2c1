//! The keys that JSON web tokens are signed with, in a file that somebody keeps up to date.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_coordinator::access::{JwtRules, JwtValidator};
use tidemill_net::Renewable;
use tidemill_plans::error::chain;

use crate::config;
use crate::error::Result;

/// The file, and what takes tokens by the keys in it.
#[derive(Clone)]
pub struct JwtFile {
    path: PathBuf,
    validator: Arc<JwtValidator>,
}

impl JwtFile {
    /// Reads the file, a JWK set.
    pub fn open(path: PathBuf, rules: JwtRules) -> Result<Self> {
        let validator = JwtValidator::new(&config::read_script(&path)?, rules)?;
        Ok(Self { path, validator: Arc::new(validator) })
    }

    /// Takes tokens, by the keys as they are then.
    pub fn validator(&self) -> Arc<JwtValidator> {
        Arc::clone(&self.validator)
    }
}

impl Renewable for JwtFile {
    fn what(&self) -> &'static str {
        "keys of JSON web tokens"
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reload(&self) -> Result<(), String> {
        let key_set = config::read_script(&self.path).map_err(|error| chain(&error))?;
        self.validator.renew(&key_set).map_err(|error| format!("{}: {}", self.path.display(), error.chain()))
    }
}
