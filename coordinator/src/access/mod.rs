//! Who somebody is, and what they may do: logging in, roles, secrets, and what was done by whom.
//!
//! [`Access`] is asked by the endpoints who sends a request, and by the session what that one may do; it answers from
//! what the journal has. Where no user has a password, nobody is asked: so [`Access::is_on`] alone says whether the
//! coordinator may be reached by strangers.

mod attempts;
mod audit;
mod command;
mod header;
mod jwt;
mod limits;
mod logins;
mod owners;
mod password;
mod random;
pub(crate) mod roles;
mod secrets;
pub(crate) mod show;
mod tokens;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_sql::access::{Rights, check_place};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tracing::warn;

use self::attempts::Attempts;
use self::audit::{Audit, Entry};
pub(crate) use self::command::Told;
use self::header::{Shown, shown};
pub use self::jwt::{JwtRules, JwtValidator, TokenValidator};
use self::logins::Logins;
use self::random::random;
pub(crate) use self::random::random_text;
pub(crate) use self::roles::MONITOR;
use self::roles::{PREFIX, Role, RoleRights, Roles};
pub(crate) use self::secrets::SecretLink;
use self::secrets::Secrets;
use self::tokens::Tokens;
use crate::clock::Clock;
use crate::error::{CoordinatorError, Result};
use crate::meta::MetaChange;
use crate::metadata::MetadataHandle;

/// How long a token holds, unless somebody says otherwise.
const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How long a password that was right is taken without hashing it again: clients send it with each request.
const PASSWORD_LIFETIME: Duration = Duration::from_secs(60);

/// Passwords that are hashed at a time: each takes 19 MiB and a core.
const HASHES_MAX: usize = 2;

/// How long a password waits for that.
const HASH_WAIT: Duration = Duration::from_secs(10);

/// How users are told apart.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// How long a token holds.
    pub token_lifetime: Duration,
    /// Who tells whom tokens are for that were made elsewhere.
    pub validator: Option<Arc<dyn TokenValidator>>,
    /// What workers in other processes show, and are shown.
    pub cluster_secret: Option<ClusterSecret>,
    /// The file of the key that secrets are sealed with; without it, it is with the metadata.
    pub secret_key: Option<PathBuf>,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self { token_lifetime: TOKEN_LIFETIME, validator: None, cluster_secret: None, secret_key: None }
    }
}

/// Who has asked for something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The role; none where nobody is asked who they are.
    pub role: Option<String>,
    /// The address; none for whoever is in this process.
    pub address: Option<SocketAddr>,
}

impl Who {
    /// Whoever uses this process.
    pub const LOCAL: Self = Self { role: None, address: None };
}

/// The users of a coordinator, and what they may do.
pub struct Access {
    clock: Arc<dyn Clock>,
    metadata: MetadataHandle,
    roles: RwLock<Arc<Roles>>,
    /// Held by whoever changes roles, from reading them to having them kept.
    changing: Mutex<()>,
    tokens: Tokens,
    attempts: Attempts,
    logins: Logins,
    hashing: Semaphore,
    validator: Option<Arc<dyn TokenValidator>>,
    cluster_secret: Option<ClusterSecret>,
    /// What the worker of this process shows where there is no such secret: nobody else is to call it.
    own_secret: Option<ClusterSecret>,
    secrets: Secrets,
    audit: Audit,
}

impl Access {
    /// Reads what the metadata have, which are in this folder, if they are in one.
    pub(crate) async fn open(
        config: AccessConfig,
        data_dir: Option<&Path>,
        metadata: MetadataHandle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let access = Self {
            secrets: Secrets::new(config.secret_key, data_dir),
            audit: Audit::new(data_dir),
            tokens: Tokens::new(Arc::clone(&clock), config.token_lifetime)?,
            attempts: Attempts::new(Arc::clone(&clock)),
            logins: Logins::new(Arc::clone(&clock)),
            clock,
            metadata,
            roles: RwLock::default(),
            changing: Mutex::default(),
            hashing: Semaphore::new(HASHES_MAX),
            validator: config.validator,
            cluster_secret: config.cluster_secret,
            own_secret: ClusterSecret::new(&random_text::<32>()?),
        };
        access.reload().await?;
        Ok(access)
    }

    /// Whether everybody has to say who they are: there is a user with a password.
    pub fn is_on(&self) -> bool {
        self.roles().is_on()
    }

    /// What workers show, and are shown. Where there are users and it was not given, it is one that nobody knows.
    pub fn cluster_secret(&self) -> Option<ClusterSecret> {
        self.cluster_secret.clone().or_else(|| self.own_secret.clone().filter(|_| self.is_on()))
    }

    /// Makes the first user, who may do everything; whether there was none of this name. One that is there stays as it
    /// is: a password that was changed since is not to come back.
    pub async fn init_user(&self, name: &str, password: &str) -> Result<bool> {
        let password = self.hash(password).await?;
        let _changing = self.changing.lock().await;
        if self.roles().roles.contains_key(name) {
            return Ok(false);
        }
        let role = Role { can_log_in: true, is_superuser: true, password: Some(password), ..Role::default() };
        self.change(vec![roles::keep(name, &role)?]).await?;
        Ok(true)
    }

    /// Who sends a request with this header.
    pub(crate) async fn authenticate(&self, header: Option<&str>, address: Option<SocketAddr>) -> Result<Who> {
        if !self.is_on() {
            return Ok(Who { role: None, address });
        }
        let role = match shown(header)? {
            Shown::Nothing => {
                return Err(refused("say who you are: with a user and a password, or with a bearer token"));
            }
            Shown::Token(token) => self.token_user(token)?,
            Shown::Password(user, password) => self.password_user(&user, password, address).await?,
        };
        let who = Who { role: Some(role), address };
        self.note_login(&who, false).await;
        Ok(who)
    }

    /// Notes that a user is there, if that is news.
    async fn note_login(&self, who: &Who, for_token: bool) {
        let address = who.address.map(|address| address.ip());
        if who.role.as_ref().is_some_and(|user| self.logins.is_news(user, address, for_token)) {
            self.note(who, "login", "", &Ok(())).await;
        }
    }

    /// A token for whoever sends this header, which is to be shown from then on.
    pub(crate) async fn log_in(&self, header: Option<&str>, address: Option<SocketAddr>) -> Result<String> {
        if !self.is_on() {
            // Clients of a coordinator without users may be set up for one with users.
            return self.tokens.issue("");
        }
        let who = self.authenticate(header, address).await?;
        self.note_login(&who, true).await;
        match who.role {
            Some(role) => self.tokens.issue(&role),
            None => Err(refused("there is no user")),
        }
    }

    /// Has a token hold no more, if the header has one.
    pub(crate) fn log_out(&self, header: Option<&str>) {
        if let Ok(Shown::Token(token)) = shown(header) {
            self.tokens.revoke(token);
        }
    }

    /// An error if whoever sends this is no worker of the cluster.
    pub(crate) fn check_worker(&self, shown: Option<&str>) -> Result<()> {
        match &self.cluster_secret {
            Some(secret) if shown.is_some_and(|shown| secret.is(shown)) => Ok(()),
            None if !self.is_on() => Ok(()),
            Some(_) => Err(refused("workers show the cluster's secret: start them with --cluster-secret FILE")),
            None => Err(refused(
                "there are users here, so workers have to show a secret: start the coordinator and its workers with \
                 --cluster-secret FILE",
            )),
        }
    }

    /// The rights of somebody; none for whoever may do everything, since nobody is asked who they are.
    pub(crate) fn rights(&self, who: &Who) -> Result<Option<Arc<dyn Rights>>> {
        let roles = self.roles();
        match &who.role {
            // Nobody is let in for having come before there were users.
            None if who.address.is_some() && roles.is_on() => Err(refused("there are users now: log in")),
            None => Ok(None),
            Some(role) => {
                self.check_role(&roles, role)?;
                Ok(Some(Arc::new(RoleRights::new(&roles, role))))
            }
        }
    }

    /// The same, and none for superusers either: whoever gets them may not do everything.
    pub(crate) fn limited_rights(&self, who: &Who) -> Result<Option<Arc<dyn Rights>>> {
        Ok(self.rights(who)?.filter(|rights| !rights.is_superuser()))
    }

    /// Whether somebody sees what all jobs do, and the workers.
    pub(crate) fn sees_all(&self, who: &Who) -> Result<bool> {
        let limited = self.limited_rights(who)?;
        Ok(limited.is_none_or(|rights| self.roles().all_of(rights.user()).contains(MONITOR)))
    }

    /// An error if somebody may not have a savepoint written there.
    pub(crate) fn check_savepoint(&self, url: Option<&str>, who: &Who) -> Result<()> {
        let rights = self.rights(who)?.filter(|_| url.is_some());
        let checked = rights.map_or(Ok(()), |rights| check_place(rights.as_ref()));
        checked.map_err(|error| CoordinatorError::Sql(Box::new(error)))
    }

    /// The names of all secrets.
    pub(crate) fn secret_names(&self) -> BTreeSet<String> {
        self.secrets.names().into_iter().collect()
    }

    /// A text without any secret in it.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets.redact(text)
    }

    /// Notes in the audit log what somebody has done, and what came of it.
    pub(crate) async fn note<T>(&self, who: &Who, action: &str, text: &str, outcome: &Result<T>) {
        let outcome = outcome.as_ref().err().map_or_else(|| String::from("ok"), |error| self.redact(&error.chain()));
        let entry = Entry {
            at: i64::try_from(self.clock.calendar().as_micros()).unwrap_or(i64::MAX),
            user: who.role.clone(),
            address: who.address.map(|address| address.to_string()),
            action: action.to_owned(),
            text: self.redact(text),
            outcome,
        };
        self.audit.note(entry).await;
    }

    /// Reads again what the metadata have: somebody else has changed it.
    pub(crate) async fn reload(&self) -> Result<()> {
        let stored = self.metadata.scan(PREFIX).await?;
        self.secrets.read(&stored)?;
        let roles = Arc::new(Roles::read(&stored)?);
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = roles;
        Ok(())
    }

    async fn change(&self, changes: Vec<MetaChange>) -> Result<()> {
        self.metadata.commit(changes).await?;
        self.reload().await
    }

    fn roles(&self) -> Arc<Roles> {
        Arc::clone(&self.roles.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The user that a token is for, made here or elsewhere.
    fn token_user(&self, token: &str) -> Result<String> {
        let own = self.tokens.role_of(token).filter(|role| !role.is_empty());
        let user = match (own, &self.validator) {
            (Some(role), _) => role,
            (None, Some(validator)) if token.contains('.') => {
                let user = validator.user(token, self.clock.calendar());
                user.map_err(|reason| refused(&format!("the token does not hold: {reason}")))?
            }
            (None, _) => return Err(refused("the token does not hold, or no more: log in again")),
        };
        self.check_role(&self.roles(), &user)?;
        Ok(user)
    }

    async fn password_user(&self, user: &str, password: String, address: Option<SocketAddr>) -> Result<String> {
        // As a token of its own kind: no other text has a zero in it.
        let credentials = format!("{user}\0{password}");
        if self.tokens.role_of(&credentials).is_some_and(|role| role == user) {
            return self.check_role(&self.roles(), user).map(|()| user.to_owned());
        }
        let ip = address.map(|address| address.ip());
        if let Some(wait) = self.attempts.wait(user, ip) {
            return Err(CoordinatorError::TooManyTries { wait });
        }
        let hash = self.roles().roles.get(user).and_then(|role| role.password.clone());
        let is_right = self.hashing(move || Ok(password::is_right(&password, hash.as_deref()))).await?;
        let allowed = if is_right { self.check_role(&self.roles(), user) } else { Err(wrong_password()) };
        if allowed.is_err() {
            let who = Who { role: Some(user.to_owned()), address };
            self.note(&who, "login", "", &allowed).await;
            self.attempts.failed(user, ip);
            warn!(user, address = ?address, "login refused");
        }
        allowed?;
        self.attempts.succeeded(user, ip);
        self.tokens.keep(&credentials, user, PASSWORD_LIFETIME);
        Ok(user.to_owned())
    }

    /// An error if a role may not log in, or no more.
    fn check_role(&self, roles: &Roles, name: &str) -> Result<()> {
        let now = i64::try_from(self.clock.calendar().as_micros()).unwrap_or(i64::MAX);
        match roles.roles.get(name) {
            None => Err(wrong_password()),
            Some(role) if !role.can_log_in => Err(refused(&format!("role {name} may not log in: ALTER ROLE … LOGIN"))),
            Some(role) if role.valid_until.is_some_and(|until| until <= now) => {
                Err(refused(&format!("the login of {name} has expired: ALTER ROLE … VALID UNTIL")))
            }
            Some(_) => Ok(()),
        }
    }

    /// The hash of a password, made where waiting is allowed.
    async fn hash(&self, password: &str) -> Result<String> {
        let password = password.to_owned();
        self.hashing(move || password::hash(&password)).await
    }

    async fn hashing<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let turn = tokio::time::timeout(HASH_WAIT, self.hashing.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(CoordinatorError::TooManyTries { wait: HASH_WAIT }) };
        spawn_blocking(work).await.unwrap_or(Err(CoordinatorError::Lost { part: "password hash" }))
    }
}

/// The same for a user who is not there: nobody is told who is.
fn wrong_password() -> CoordinatorError {
    refused("the user or the password is wrong")
}

pub(super) fn refused(reason: &str) -> CoordinatorError {
    CoordinatorError::Unauthenticated { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
