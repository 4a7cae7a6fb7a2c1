//! What statements about roles, privileges and secrets do.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use tidemill_plans::connector;
use tidemill_sql::access::{AccessCommand, Hidden, Privilege, RoleLimit, RoleOptions, Securable, require};

use super::roles::{self, Held, MONITOR, PUBLIC, Role, Roles};
use super::{Access, Who, secrets, show};
use crate::error::{CoordinatorError, Result};
use crate::meta::MetaChange;

/// What a statement comes to.
#[derive(Debug)]
pub(crate) enum Told {
    /// A message such as `GRANT`.
    Done(&'static str),
    /// Rows.
    Rows(RecordBatch),
}

impl Access {
    /// Carries out a statement. `exists` says whether there is an object that whoever asks may know of.
    pub(crate) async fn carry_out(
        &self,
        who: &Who,
        command: AccessCommand,
        exists: impl Fn(&str) -> bool + Send,
    ) -> Result<Told> {
        let password = match &command {
            AccessCommand::CreateRole { options, .. } | AccessCommand::AlterRole { options, .. } => {
                self.new_password(options).await?
            }
            _ => None,
        };
        let _changing = self.changing.lock().await;
        let asking = Asking { access: self, roles: self.roles(), who };
        match command {
            AccessCommand::CreateRole { name, options } => asking.create_role(&name, &options, password).await,
            AccessCommand::AlterRole { name, options } => asking.alter_role(&name, &options, password).await,
            AccessCommand::SetLimit { role, limit, max } => asking.limit_role(&role, &[limit], Some(max)).await,
            AccessCommand::ResetLimit { role, limit } => {
                asking.limit_role(&role, &limit.map_or(RoleLimit::ALL.to_vec(), |limit| vec![limit]), None).await
            }
            AccessCommand::DropRole { name, if_exists } => asking.drop_role(&name, if_exists).await,
            AccessCommand::Grant { privileges, on, to } => {
                asking
                    .change_grants(&on, &to, &exists, |granted, what| granted.extend(names(&privileges, what)))
                    .await?;
                Ok(Told::Done("GRANT"))
            }
            AccessCommand::Revoke { privileges, on, from } => {
                let revoke = |granted: &mut BTreeSet<String>, what: &Securable| {
                    for name in names(&privileges, what) {
                        granted.remove(&name);
                    }
                };
                asking.change_grants(&on, &from, &exists, revoke).await?;
                Ok(Told::Done("REVOKE"))
            }
            AccessCommand::GrantRoles { roles, to } => asking.grant_roles(&roles, &to).await,
            AccessCommand::RevokeRoles { roles, from } => asking.revoke_roles(&roles, &from).await,
            AccessCommand::RevokeTokens(role) => asking.revoke_tokens(&role),
            AccessCommand::Reassign { from, to } => asking.reassign(&from, &to).await,
            AccessCommand::ShowRoles => Ok(Told::Rows(show::roles(&asking.roles)?)),
            AccessCommand::ShowGrants(role) => asking.show_grants(role.as_deref()),
            AccessCommand::CreateSecret { name, value, or_replace } => {
                asking.create_secret(&name, &value, or_replace).await
            }
            AccessCommand::DropSecret { name, if_exists } => asking.drop_secret(&name, if_exists).await,
            AccessCommand::ShowSecrets => asking.show_secrets(),
            AccessCommand::ShowAudit(limit) => {
                asking.superuser("SHOW AUDIT")?;
                Ok(Told::Rows(self.audit.rows(limit).await?))
            }
        }
    }

    async fn new_password(&self, options: &RoleOptions) -> Result<Option<Option<String>>> {
        match &options.password {
            None => Ok(None),
            Some(None) => Ok(Some(None)),
            Some(Some(password)) => Ok(Some(Some(self.hash(password.reveal()).await?))),
        }
    }
}

/// A statement of somebody, with the roles as they are before it.
struct Asking<'a> {
    access: &'a Access,
    roles: std::sync::Arc<Roles>,
    who: &'a Who,
}

#[expect(clippy::option_option, reason = "a password that is not said is not one that is taken away")]
impl Asking<'_> {
    async fn create_role(&self, name: &str, options: &RoleOptions, password: Option<Option<String>>) -> Result<Told> {
        self.superuser("CREATE ROLE")?;
        if [PUBLIC, MONITOR].contains(&name) || self.roles.roles.contains_key(name) {
            return Err(wrong(&format!("role '{name}' already exists; ALTER ROLE changes it")));
        }
        let role = changed(&Role::default(), options, password);
        self.begin_with_a_superuser(&role)?;
        self.access.change(vec![roles::keep(name, &role)?]).await?;
        Ok(Told::Done("CREATE ROLE"))
    }

    async fn alter_role(&self, name: &str, options: &RoleOptions, password: Option<Option<String>>) -> Result<Told> {
        let only_password = options.login.is_none() && options.superuser.is_none() && options.valid_until.is_none();
        if !(only_password && self.who.role.as_deref() == Some(name)) {
            self.superuser("ALTER ROLE")?;
        }
        let old = self.role(name)?;
        let new = changed(old, options, password);
        self.begin_with_a_superuser(&new)?;
        self.keep_a_superuser(name, Some(&new))?;
        self.access.change(vec![roles::keep(name, &new)?]).await?;
        // Who has logged in with what is right no more has to do so again.
        if new.password != old.password || new.can_log_in != old.can_log_in || new.valid_until != old.valid_until {
            self.access.tokens.revoke_all(name);
        }
        Ok(Told::Done("ALTER ROLE"))
    }

    /// What there is by now of a role that is limited goes on.
    async fn limit_role(&self, name: &str, limits: &[RoleLimit], max: Option<u32>) -> Result<Told> {
        self.superuser("a limit of a role")?;
        let mut role = self.role(name)?.clone();
        for limit in limits.iter().map(|limit| limit.name().to_owned()) {
            match max {
                Some(max) => role.limits.insert(limit, max),
                None => role.limits.remove(&limit),
            };
        }
        self.access.change(vec![roles::keep(name, &role)?]).await?;
        Ok(Told::Done("ALTER ROLE"))
    }

    async fn drop_role(&self, name: &str, if_exists: bool) -> Result<Told> {
        self.superuser("DROP ROLE")?;
        if if_exists && !self.roles.roles.contains_key(name) {
            return Ok(Told::Done("the role does not exist"));
        }
        self.role(name)?;
        self.keep_a_superuser(name, None)?;
        if let Some(owned) = self.roles.owned_by(name) {
            return Err(wrong(&format!("role '{name}' owns {owned}; REASSIGN OWNED BY {name} TO another first")));
        }
        let mut changes = vec![roles::forget(name)];
        changes.extend(self.without(name)?);
        self.access.change(changes).await?;
        self.access.tokens.revoke_all(name);
        Ok(Told::Done("DROP ROLE"))
    }

    /// The changes that take a role out of all others, and out of all grants.
    fn without(&self, name: &str) -> Result<Vec<MetaChange>> {
        let members = self.roles.roles.iter().filter(|(member, role)| *member != name && role.member_of.contains(name));
        let members = members.map(|(member, role)| {
            let mut role = role.clone();
            role.member_of.remove(name);
            roles::keep(member, &role)
        });
        let held = self.roles.held.iter().filter(|(_, held)| held.grants.contains_key(name));
        let held = held.map(|(what, held)| {
            let mut held = held.clone();
            held.grants.remove(name);
            roles::hold(what, &held)
        });
        members.chain(held).collect()
    }

    async fn change_grants(
        &self,
        on: &[Securable],
        roles: &[String],
        exists: &(impl Fn(&str) -> bool + Send),
        change: impl Fn(&mut BTreeSet<String>, &Securable) + Send,
    ) -> Result<()> {
        let mut changes = Vec::new();
        for role in roles.iter().filter(|role| *role != PUBLIC) {
            self.role(role)?;
        }
        for what in on {
            self.owner(what, exists)?;
            let mut held = self.roles.held.get(what).cloned().unwrap_or_default();
            for role in roles {
                let granted = held.grants.entry(role.clone()).or_default();
                change(granted, what);
            }
            held.grants.retain(|_, granted| !granted.is_empty());
            changes.push(if held == Held::default() { roles::release(what) } else { roles::hold(what, &held)? });
        }
        self.access.change(changes).await
    }

    async fn grant_roles(&self, granted: &[String], to: &[String]) -> Result<Told> {
        self.superuser("GRANT of a role")?;
        let mut changes = Vec::new();
        for member in to {
            let mut role = self.role(member)?.clone();
            for name in granted {
                if name != MONITOR {
                    self.role(name)?;
                }
                if self.roles.all_of(name).contains(member) {
                    return Err(wrong(&format!(
                        "role '{name}' belongs to '{member}' already: it cannot be the other way round, too"
                    )));
                }
                role.member_of.insert(name.clone());
            }
            changes.push(roles::keep(member, &role)?);
        }
        self.access.change(changes).await?;
        Ok(Told::Done("GRANT ROLE"))
    }

    async fn revoke_roles(&self, revoked: &[String], from: &[String]) -> Result<Told> {
        self.superuser("REVOKE of a role")?;
        let mut changes = Vec::new();
        for member in from {
            let mut role = self.role(member)?.clone();
            role.member_of.retain(|name| !revoked.contains(name));
            changes.push(roles::keep(member, &role)?);
        }
        self.access.change(changes).await?;
        Ok(Told::Done("REVOKE ROLE"))
    }

    fn revoke_tokens(&self, role: &str) -> Result<Told> {
        if self.who.role.as_deref() != Some(role) {
            self.superuser("REVOKE TOKENS of others")?;
        }
        self.role(role)?;
        self.access.tokens.revoke_all(role);
        Ok(Told::Done("REVOKE TOKENS"))
    }

    async fn reassign(&self, from: &str, to: &str) -> Result<Told> {
        self.superuser("REASSIGN OWNED")?;
        self.role(from)?;
        self.role(to)?;
        let owned = self.roles.held.iter().filter(|(_, held)| held.owner.as_deref() == Some(from));
        let moved = owned.map(|(what, held)| roles::hold(what, &Held { owner: Some(to.to_owned()), ..held.clone() }));
        let jobs = self.roles.jobs.iter().filter(|(_, owner)| *owner == from);
        let jobs = jobs.map(|(job, _)| roles::own_job(*job, Some(to)));
        self.access.change(moved.chain(jobs).collect::<Result<_>>()?).await?;
        Ok(Told::Done("REASSIGN OWNED"))
    }

    fn show_grants(&self, role: Option<&str>) -> Result<Told> {
        let own = self.who.role.as_deref().map(|own| self.roles.all_of(own));
        let sees_all = self.is_superuser()?;
        if let Some(role) = role.filter(|role| *role != PUBLIC) {
            self.role(role)?;
            if !sees_all && own.as_ref().is_some_and(|own| !own.contains(role)) {
                return Err(denied(&format!("the grants of '{role}' are for its members, and for superusers")));
            }
        }
        let wanted = |name: &str| match (role, &own) {
            (Some(role), _) => role == name,
            (None, Some(own)) if !sees_all => own.contains(name),
            (None, _) => true,
        };
        Ok(Told::Rows(show::grants(&self.roles, wanted)?))
    }

    async fn create_secret(&self, name: &str, value: &Hidden, or_replace: bool) -> Result<Told> {
        let what = Securable::Secret(name.to_owned());
        let is_there = self.access.secret_names().contains(name);
        if is_there && !or_replace {
            return Err(wrong(&format!(
                "secret '{name}' already exists; CREATE OR REPLACE SECRET gives it another value"
            )));
        }
        let mut changes = vec![self.access.secrets.keep(name, value)?];
        if is_there {
            self.owner(&what, &|_| true)?;
        } else {
            if let Some(rights) = self.access.rights(self.who)? {
                let required = require(rights.as_ref(), Privilege::Create, Securable::Schema);
                required.map_err(|error| CoordinatorError::Sql(Box::new(error)))?;
            }
            changes.push(roles::hold(&what, &Held { owner: self.who.role.clone(), ..Held::default() })?);
        }
        self.access.change(changes).await?;
        Ok(Told::Done("CREATE SECRET"))
    }

    /// Jobs that run have it, and do not begin again without it.
    async fn drop_secret(&self, name: &str, if_exists: bool) -> Result<Told> {
        if !self.access.secret_names().contains(name) {
            return match if_exists {
                true => Ok(Told::Done("the secret does not exist")),
                false => Err(wrong(&format!("there is no secret '{name}'; SHOW SECRETS lists them"))),
            };
        }
        let what = Securable::Secret(name.to_owned());
        self.owner(&what, &|_| true)?;
        self.access.change(vec![secrets::forget(name), roles::release(&what)]).await?;
        Ok(Told::Done("DROP SECRET"))
    }

    /// The names of those that somebody may use, and whose they are.
    fn show_secrets(&self) -> Result<Told> {
        let rights = self.access.rights(self.who)?;
        let mut names = self.access.secrets.names();
        names.retain(|name| {
            let what = Securable::Secret(name.clone());
            rights.as_ref().is_none_or(|rights| rights.has(Privilege::Usage, &what))
        });
        Ok(Told::Rows(show::secrets(&self.roles, names)?))
    }

    fn role(&self, name: &str) -> Result<&Role> {
        self.roles.roles.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.roles.roles.keys().map(String::as_str).collect();
            let hint = if names.is_empty() { String::from("CREATE ROLE makes one") } else { names.join(", ") };
            wrong(&format!("there is no role '{name}'; there are: {hint}"))
        })
    }

    fn is_superuser(&self) -> Result<bool> {
        Ok(self.access.rights(self.who)?.is_none_or(|rights| rights.is_superuser()))
    }

    fn superuser(&self, what: &str) -> Result<()> {
        match self.is_superuser()? {
            true => Ok(()),
            false => Err(denied(&format!("{what} is for superusers"))),
        }
    }

    /// An error if there is no such thing, or it is another's.
    fn owner(&self, what: &Securable, exists: &impl Fn(&str) -> bool) -> Result<()> {
        match what {
            Securable::Object(name) if !exists(name) => return Err(wrong(&format!("there is no object '{name}'"))),
            Securable::Connector(name) => {
                connector::find(name).map_err(|error| wrong(&error.to_string()))?;
            }
            _ => {}
        }
        match self.access.rights(self.who)? {
            Some(rights) if !rights.owns(what) => {
                Err(denied(&format!("privileges on {what} are granted by its owner, and by superusers")))
            }
            _ => Ok(()),
        }
    }

    /// An error if somebody who can let nobody in would be the first to have a password.
    fn begin_with_a_superuser(&self, new: &Role) -> Result<()> {
        if self.roles.is_on() || new.password.is_none() || new.is_superuser && new.can_log_in {
            return Ok(());
        }
        let message = "the first user with a password is a SUPERUSER who may LOGIN: from then on everybody has to log \
                       in, and somebody has to let them";
        Err(wrong(message))
    }

    /// An error if nobody could let others in any more.
    fn keep_a_superuser(&self, name: &str, new: Option<&Role>) -> Result<()> {
        let is_one = |role: &Role| role.is_superuser && role.can_log_in && role.password.is_some();
        let was_one = self.roles.roles.get(name).is_some_and(is_one);
        if was_one && !new.is_some_and(is_one) && self.roles.superusers() == 1 {
            let message = format!("'{name}' is the last superuser who can log in: make another one first");
            return Err(wrong(&message));
        }
        Ok(())
    }
}

#[expect(clippy::option_option, reason = "a password that is not said is not one that is taken away")]
fn changed(role: &Role, options: &RoleOptions, password: Option<Option<String>>) -> Role {
    Role {
        can_log_in: options.login.unwrap_or(role.can_log_in),
        is_superuser: options.superuser.unwrap_or(role.is_superuser),
        password: password.unwrap_or_else(|| role.password.clone()),
        valid_until: options
            .valid_until
            .map_or(role.valid_until, |until| Some(until).filter(|until| *until < i64::MAX)),
        member_of: role.member_of.clone(),
        limits: role.limits.clone(),
    }
}

/// The names of privileges; of all that can be granted, if none is said.
fn names(privileges: &[Privilege], what: &Securable) -> impl Iterator<Item = String> {
    let chosen = if privileges.is_empty() { what.privileges() } else { privileges };
    chosen.iter().map(|privilege| privilege.name().to_owned()).collect::<Vec<_>>().into_iter()
}

pub(super) fn wrong(message: &str) -> CoordinatorError {
    CoordinatorError::Statement { message: message.to_owned() }
}

pub(super) fn denied(message: &str) -> CoordinatorError {
    CoordinatorError::Denied { message: message.to_owned() }
}
