//! What a coordinator is told about users: the first one, tokens, and the secret of its cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidemill_coordinator::access::{AccessConfig, JwtRules, TokenValidator};

use super::duration;
use crate::config;
use crate::coordinator::FirstUser;
use crate::error::{Result, TidemillError};
use crate::jwt_file::JwtFile;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct UserArguments {
    /// Make this user a superuser, if there is none of this name. From then on everybody has to log in.
    #[arg(long, value_name = "NAME")]
    init_user: Option<String>,
    /// The file with the password of --init-user; TIDEMILL_PASSWORD has it without one.
    #[arg(long, value_name = "FILE", requires = "init_user")]
    password_file: Option<PathBuf>,
    /// How long whoever has logged in is known by a token.
    #[arg(long, value_name = "DURATION", default_value = "12h", value_parser = duration)]
    token_lifetime: Duration,
    /// Take JSON web tokens, too, that are signed with one of these keys, a JWK set; it is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "jwt_issuer", requires = "jwt_audience")]
    jwt_keys: Option<PathBuf>,
    /// Who has to have made them (iss).
    #[arg(long, value_name = "ISSUER", requires = "jwt_keys")]
    jwt_issuer: Option<String>,
    /// Whom they have to be meant for (aud).
    #[arg(long, value_name = "AUDIENCE", requires = "jwt_keys")]
    jwt_audience: Option<String>,
    /// The claim that names the user.
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    jwt_user_claim: String,
    /// The file with what workers in other processes have to show; needed for these once there are users.
    #[arg(long, value_name = "FILE")]
    cluster_secret: Option<PathBuf>,
    /// The file of the key that secrets are sealed with, which is made if it is not there; without it, it is
    /// secret.key in the folder of the metadata.
    #[arg(long, value_name = "FILE")]
    secret_key: Option<PathBuf>,
}

impl UserArguments {
    pub(super) fn access(&self, jwt_keys: Option<&JwtFile>) -> Result<AccessConfig> {
        Ok(AccessConfig {
            token_lifetime: self.token_lifetime,
            validator: jwt_keys.map(|keys| keys.validator() as Arc<dyn TokenValidator>),
            cluster_secret: self.cluster_secret.as_deref().map(config::cluster_secret).transpose()?,
            secret_key: self.secret_key.clone(),
        })
    }

    pub(super) fn first_user(&self) -> Result<Option<FirstUser>> {
        let Some(name) = self.init_user.clone() else { return Ok(None) };
        let password = config::password(self.password_file.as_deref())?;
        let password = password.ok_or_else(|| TidemillError::NoPassword { user: name.clone() })?;
        Ok(Some(FirstUser { name, password }))
    }

    pub(super) fn jwt_keys(&self) -> Result<Option<JwtFile>> {
        let (Some(keys), Some(issuer), Some(audience)) = (&self.jwt_keys, &self.jwt_issuer, &self.jwt_audience) else {
            return Ok(None);
        };
        let (issuer, audience, user_claim) = (issuer.clone(), audience.clone(), self.jwt_user_claim.clone());
        JwtFile::open(keys.clone(), JwtRules { issuer, audience, user_claim }).map(Some)
    }
}
