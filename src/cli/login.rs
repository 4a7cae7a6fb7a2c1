//! How a client says who uses it.

use std::path::PathBuf;

use clap::Args;
use tidemill_coordinator::api::Login;

use crate::config;
use crate::error::{Result, TidemillError};

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct LoginArguments {
    /// Who you are, if the coordinator has users; the password is in TIDEMILL_PASSWORD.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// The file with the password, instead.
    #[arg(long, global = true, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

impl LoginArguments {
    pub(super) fn login(&self) -> Result<Option<Login>> {
        let Some(user) = self.user.clone() else { return Ok(None) };
        let password = config::password(self.password_file.as_deref())?;
        let password = password.ok_or_else(|| TidemillError::NoPassword { user: user.clone() })?;
        Ok(Some(Login { user, password }))
    }
}
