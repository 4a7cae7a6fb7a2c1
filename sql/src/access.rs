//! Who may do what, as statements say it and as a session asks it. Who somebody is, and what was granted, others know.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::node::NodeKind;
use tidemill_plans::settings::Settings;

use crate::ast::quoted;
use crate::catalog::{Catalog, Detail};
use crate::error::{Position, Result, SqlError};
use crate::session::Session;

/// What can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// To read the rows of a source or view.
    Select,
    /// To write rows to a sink.
    Insert,
    /// To have a model predict.
    Predict,
    /// To stop, rescale and save the job that makes an object.
    Control,
    /// To make sources and sinks with a connector, or with a secret.
    Usage,
    /// To create objects.
    Create,
}

impl Privilege {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Select, Self::Insert, Self::Predict, Self::Control, Self::Usage, Self::Create];

    /// Its name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Predict => "PREDICT",
            Self::Control => "CONTROL",
            Self::Usage => "USAGE",
            Self::Create => "CREATE",
        }
    }

    /// The privilege of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.name().eq_ignore_ascii_case(name))
    }
}

/// What privileges are on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Securable {
    /// An object of the catalog, and the job that makes it.
    Object(String),
    /// A connector.
    Connector(String),
    /// A secret.
    Secret(String),
    /// The schema, in which all objects are.
    Schema,
}

impl Securable {
    /// What can be granted on it.
    #[must_use]
    pub fn privileges(&self) -> &'static [Privilege] {
        match self {
            Self::Object(_) => &[Privilege::Select, Privilege::Insert, Privilege::Predict, Privilege::Control],
            Self::Connector(_) | Self::Secret(_) => &[Privilege::Usage],
            Self::Schema => &[Privilege::Create],
        }
    }
}

impl fmt::Display for Securable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(name) => f.write_str(&shown(name)),
            Self::Connector(name) => write!(f, "CONNECTOR {}", shown(name)),
            Self::Secret(name) => write!(f, "SECRET {}", shown(name)),
            Self::Schema => f.write_str("SCHEMA public"),
        }
    }
}

/// A text that nobody is to read, in whatever is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for whoever needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'***'")
    }
}

/// What CREATE ROLE and ALTER ROLE say of a role; what they do not say stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleOptions {
    /// LOGIN, NOLOGIN.
    pub login: Option<bool>,
    /// SUPERUSER, NOSUPERUSER.
    pub superuser: Option<bool>,
    /// PASSWORD 'x'; PASSWORD NULL takes it away.
    pub password: Option<Option<Hidden>>,
    /// VALID UNTIL, in microseconds since 1970; 'infinity' is the greatest.
    pub valid_until: Option<i64>,
}

/// How much the members of a role have at a time, all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleLimit {
    /// Statements that are executed or fetched.
    Statements,
    /// Jobs, with those of SELECTs.
    Jobs,
}

impl RoleLimit {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Statements, Self::Jobs];

    /// Its name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Statements => "max_statements",
            Self::Jobs => "max_jobs",
        }
    }

    /// What it limits.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Statements => "statements",
            Self::Jobs => "jobs",
        }
    }

    /// The limit of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.name().eq_ignore_ascii_case(name))
    }
}

/// A statement about roles, privileges, secrets or the audit log, which is for whoever keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessCommand {
    /// CREATE ROLE, CREATE USER.
    CreateRole {
        /// Its name.
        name: String,
        /// What it is.
        options: RoleOptions,
    },
    /// ALTER ROLE, ALTER USER.
    AlterRole {
        /// Its name.
        name: String,
        /// What is new.
        options: RoleOptions,
    },
    /// ALTER ROLE r SET limit = n.
    SetLimit {
        /// Whose.
        role: String,
        /// Which.
        limit: RoleLimit,
        /// How many there may be.
        max: u32,
    },
    /// ALTER ROLE r RESET limit, RESET ALL.
    ResetLimit {
        /// Whose.
        role: String,
        /// Which; all if none is said.
        limit: Option<RoleLimit>,
    },
    /// DROP ROLE, DROP USER.
    DropRole {
        /// Its name.
        name: String,
        /// Whether it need not be there.
        if_exists: bool,
    },
    /// GRANT privileges ON … TO roles.
    Grant {
        /// What; nothing for ALL.
        privileges: Vec<Privilege>,
        /// On what.
        on: Vec<Securable>,
        /// To whom.
        to: Vec<String>,
    },
    /// REVOKE privileges ON … FROM roles.
    Revoke {
        /// What; nothing for ALL.
        privileges: Vec<Privilege>,
        /// On what.
        on: Vec<Securable>,
        /// From whom.
        from: Vec<String>,
    },
    /// GRANT roles TO roles.
    GrantRoles {
        /// What.
        roles: Vec<String>,
        /// To whom.
        to: Vec<String>,
    },
    /// REVOKE roles FROM roles.
    RevokeRoles {
        /// What.
        roles: Vec<String>,
        /// From whom.
        from: Vec<String>,
    },
    /// REVOKE TOKENS FROM role: whoever has logged in as it has to do so again.
    RevokeTokens(String),
    /// REASSIGN OWNED BY role TO role.
    Reassign {
        /// Whose objects.
        from: String,
        /// Whose they are from now on.
        to: String,
    },
    /// CREATE SECRET.
    CreateSecret {
        /// Its name.
        name: String,
        /// What nobody sees.
        value: Hidden,
        /// Whether one of this name may be there, which it takes the place of.
        or_replace: bool,
    },
    /// DROP SECRET.
    DropSecret {
        /// Its name.
        name: String,
        /// Whether it need not be there.
        if_exists: bool,
    },
    /// SHOW ROLES.
    ShowRoles,
    /// SHOW GRANTS [FOR role].
    ShowGrants(Option<String>),
    /// SHOW SECRETS.
    ShowSecrets,
    /// SHOW AUDIT [LIMIT n].
    ShowAudit(Option<usize>),
}

impl AccessCommand {
    /// Whether it comes to rows, and has no other effect.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        matches!(self, Self::ShowRoles | Self::ShowGrants(_) | Self::ShowSecrets | Self::ShowAudit(_))
    }
}

/// As it could be written, but for what is hidden.
impl fmt::Display for AccessCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateRole { name, options } => write!(f, "CREATE ROLE {}{options}", shown(name)),
            Self::AlterRole { name, options } => write!(f, "ALTER ROLE {}{options}", shown(name)),
            Self::SetLimit { role, limit, max } => {
                write!(f, "ALTER ROLE {} SET {} = {max}", shown(role), limit.name())
            }
            Self::ResetLimit { role, limit } => {
                write!(f, "ALTER ROLE {} RESET {}", shown(role), limit.map_or("ALL", RoleLimit::name))
            }
            Self::DropRole { name, if_exists } => write!(f, "DROP ROLE {}{}", exists(*if_exists), shown(name)),
            Self::Grant { privileges, on, to } => {
                write!(f, "GRANT {} ON {} TO {}", all_or(privileges), list(on), names(to))
            }
            Self::Revoke { privileges, on, from } => {
                write!(f, "REVOKE {} ON {} FROM {}", all_or(privileges), list(on), names(from))
            }
            Self::GrantRoles { roles, to } => write!(f, "GRANT {} TO {}", names(roles), names(to)),
            Self::RevokeRoles { roles, from } => write!(f, "REVOKE {} FROM {}", names(roles), names(from)),
            Self::RevokeTokens(role) => write!(f, "REVOKE TOKENS FROM {}", shown(role)),
            Self::Reassign { from, to } => write!(f, "REASSIGN OWNED BY {} TO {}", shown(from), shown(to)),
            Self::CreateSecret { name, value, or_replace } => {
                write!(f, "CREATE {}SECRET {} AS {value:?}", if *or_replace { "OR REPLACE " } else { "" }, shown(name))
            }
            Self::DropSecret { name, if_exists } => write!(f, "DROP SECRET {}{}", exists(*if_exists), shown(name)),
            Self::ShowRoles => f.write_str("SHOW ROLES"),
            Self::ShowGrants(None) => f.write_str("SHOW GRANTS"),
            Self::ShowGrants(Some(role)) => write!(f, "SHOW GRANTS FOR {}", shown(role)),
            Self::ShowSecrets => f.write_str("SHOW SECRETS"),
            Self::ShowAudit(None) => f.write_str("SHOW AUDIT"),
            Self::ShowAudit(Some(limit)) => write!(f, "SHOW AUDIT LIMIT {limit}"),
        }
    }
}

impl fmt::Display for RoleOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |is: bool, word: &'static str| if is { format!(" {word}") } else { format!(" NO{word}") };
        f.write_str(&self.login.map_or_else(String::new, |is| word(is, "LOGIN")))?;
        f.write_str(&self.superuser.map_or_else(String::new, |is| word(is, "SUPERUSER")))?;
        match &self.password {
            None => {}
            Some(None) => f.write_str(" PASSWORD NULL")?,
            Some(Some(password)) => write!(f, " PASSWORD {password:?}")?,
        }
        match self.valid_until {
            None => Ok(()),
            Some(i64::MAX) => f.write_str(" VALID UNTIL 'infinity'"),
            Some(until) => write!(f, " VALID UNTIL '{}'", tidemill_plans::time::EventTime(until)),
        }
    }
}

fn exists(if_exists: bool) -> &'static str {
    if if_exists { "IF EXISTS " } else { "" }
}

fn all_or(privileges: &[Privilege]) -> String {
    match privileges {
        [] => String::from("ALL"),
        some => some.iter().map(|privilege| privilege.name()).collect::<Vec<_>>().join(", "),
    }
}

fn list(on: &[Securable]) -> String {
    on.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

/// A name as it has to be written.
fn shown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts && name.chars().all(is_plain) { name.to_owned() } else { quoted(name).to_string() }
}

/// The text that stands for a secret among options, until they reach who needs it.
#[must_use]
pub fn secret_reference(name: &str) -> String {
    format!("${{secret:{name}}}")
}

/// The secret that an option's value stands for, if it does.
#[must_use]
pub fn secret_of(value: &str) -> Option<&str> {
    value.strip_prefix("${secret:")?.strip_suffix('}')
}

/// The rights of whoever has a statement executed: what they are at this moment.
pub trait Rights: fmt::Debug + Send + Sync {
    /// Who it is.
    fn user(&self) -> &str;

    /// Whether it may do everything.
    fn is_superuser(&self) -> bool;

    /// Whether it has a privilege: it was granted, or this is its own.
    fn has(&self, privilege: Privilege, on: &Securable) -> bool;

    /// Whether it is, or belongs to, the owner.
    fn owns(&self, what: &Securable) -> bool;

    /// Whether nobody owns it, for it is not there, or was there before there were users.
    fn is_free(&self, what: &Securable) -> bool;

    /// The rights of an object's owner; none if that one may do everything.
    fn of_owner(&self, object: &str) -> Option<Arc<dyn Rights>>;
}

/// Whether somebody may know that there is such an object.
pub fn may_see(rights: &dyn Rights, name: &str, kind: ObjectKind) -> bool {
    let on = Securable::Object(name.to_owned());
    kind == ObjectKind::Function
        || rights.owns(&on)
        || on.privileges().iter().any(|privilege| rights.has(*privilege, &on))
}

impl Session {
    /// Does something with somebody's rights: what they do not let them know of is not there meanwhile. Without rights
    /// to ask for, everything is allowed.
    pub fn with_rights<T>(&mut self, rights: Option<Arc<dyn Rights>>, work: impl FnOnce(&mut Self) -> T) -> T {
        if let Some(rights) = rights.as_deref().filter(|rights| !rights.is_superuser()) {
            let hidden = self.catalog.objects().filter(|object| !may_see(rights, &object.name, object.kind));
            self.catalog.hidden = hidden.map(|object| object.name.clone()).collect::<BTreeSet<_>>().into();
        }
        self.rights = rights;
        let done = work(self);
        self.rights = None;
        self.catalog.hidden = Arc::default();
        done
    }

    /// An error if whoever asks has not this privilege.
    pub(crate) fn require(&self, privilege: Privilege, on: Securable) -> Result<()> {
        self.rights.as_deref().map_or(Ok(()), |rights| require(rights, privilege, on))
    }

    /// An error if an object is not theirs.
    pub(crate) fn require_owner(&self, object: &str) -> Result<()> {
        self.rights.as_deref().map_or(Ok(()), |rights| require_owner(rights, object))
    }

    /// An error if not all of these objects may be read, or written to, as a query does it.
    pub(crate) fn require_uses(&self, uses: &[String]) -> Result<()> {
        match self.rights.as_deref() {
            Some(rights) if !rights.is_superuser() => require_uses(&self.catalog.whole(), rights, uses),
            _ => Ok(()),
        }
    }

    /// An error if these options name a connector or a secret that is not for whoever asks.
    pub(crate) fn require_options(&self, connector: &str, options: &[(String, String)]) -> Result<()> {
        self.require(Privilege::Usage, Securable::Connector(connector.to_owned()))?;
        self.require_secrets(options)
    }

    /// An error if these options name a secret that is not for whoever asks.
    pub(crate) fn require_secrets(&self, options: &[(String, String)]) -> Result<()> {
        for name in options.iter().filter_map(|(_, value)| secret_of(value)) {
            if let Some(secrets) = self.secrets.as_ref().filter(|secrets| !secrets.contains(name)) {
                let seen =
                    |secret: &&String| self.require(Privilege::Usage, Securable::Secret((*secret).clone())).is_ok();
                let seen: Vec<&str> = secrets.iter().filter(seen).map(String::as_str).collect();
                let hint = match seen.as_slice() {
                    [] => String::from("CREATE SECRET makes one"),
                    names => format!("there are: {}", names.join(", ")),
                };
                let what = String::from("secret");
                return Err(SqlError::Unknown { at: Position::UNKNOWN, what, name: name.to_owned(), hint });
            }
            self.require(Privilege::Usage, Securable::Secret(name.to_owned()))?;
        }
        Ok(())
    }

    /// An error if files are not to be read or written where whoever asks says.
    pub(crate) fn require_place(&self) -> Result<()> {
        self.rights.as_deref().map_or(Ok(()), check_place)
    }

    /// An error if settings name places of the coordinator's machine that are not for whoever asks: these are read and
    /// written as files are.
    pub(crate) fn require_places(&self, settings: &Settings) -> Result<()> {
        self.rights.as_deref().map_or(Ok(()), |rights| check_places(rights, settings))
    }
}

/// An error if a plan that is no statement has parts that are not for whoever has sent it: it makes things, with
/// connectors and secrets, and what it writes or trains must not be taken for another's object.
pub fn check_plan(rights: &dyn Rights, graph: &DataflowGraph, settings: &Settings) -> Result<()> {
    require(rights, Privilege::Create, Securable::Schema)?;
    check_places(rights, settings)?;
    for node in &graph.nodes {
        match &node.kind {
            NodeKind::Sink(sink) => check_made(rights, &sink.table)?,
            NodeKind::Train(train) => check_made(rights, &train.model)?,
            NodeKind::Fit(fit) => check_made(rights, &fit.model)?,
            _ => {}
        }
        let Some((connector, options)) = node.kind.connector() else { continue };
        require(rights, Privilege::Usage, Securable::Connector(connector.to_owned()))?;
        for secret in options.iter().filter_map(|(_, value)| secret_of(value)) {
            require(rights, Privilege::Usage, Securable::Secret(secret.to_owned()))?;
        }
    }
    Ok(())
}

fn check_made(rights: &dyn Rights, name: &str) -> Result<()> {
    let on = Securable::Object(name.to_owned());
    if rights.is_free(&on) || rights.owns(&on) {
        return Ok(());
    }
    Err(denied(rights, &format!("is not the owner of {on}"), String::from("give what the plan makes another name")))
}

/// An error if settings name places that are not for somebody.
pub fn check_places(rights: &dyn Rights, settings: &Settings) -> Result<()> {
    let places = [&settings.checkpoint_storage, &settings.dead_letter_path, &settings.from_savepoint];
    if places.iter().all(|place| place.is_empty()) {
        return Ok(());
    }
    check_place(rights)
}

/// An error if somebody may not have files written where they say.
pub fn check_place(rights: &dyn Rights) -> Result<()> {
    require(rights, Privilege::Usage, Securable::Connector(String::from("files")))
}

/// An error if an object is not somebody's.
pub fn require_owner(rights: &dyn Rights, object: &str) -> Result<()> {
    let on = Securable::Object(object.to_owned());
    if rights.owns(&on) {
        return Ok(());
    }
    let hint = String::from("that is for its owner, and for superusers");
    Err(denied(rights, &format!("is not the owner of {on}"), hint))
}

/// An error if somebody has not this privilege.
pub fn require(rights: &dyn Rights, privilege: Privilege, on: Securable) -> Result<()> {
    if rights.has(privilege, &on) {
        return Ok(());
    }
    let (name, user) = (privilege.name(), shown(rights.user()));
    let who = match on {
        Securable::Object(_) | Securable::Secret(_) => "its owner or a superuser",
        Securable::Connector(_) | Securable::Schema => "a superuser",
    };
    Err(denied(rights, &format!("has no {name} on {on}"), format!("{who} can say GRANT {name} ON {on} TO {user}")))
}

fn denied(rights: &dyn Rights, what: &str, hint: String) -> SqlError {
    SqlError::Denied { at: Position::UNKNOWN, what: format!("{} {what}", shown(rights.user())), hint }
}

/// Views are read with the rights of their owners, as in PostgreSQL; what a materialized view has, its owner has read.
fn require_uses(catalog: &Catalog, rights: &dyn Rights, uses: &[String]) -> Result<()> {
    for object in uses.iter().filter_map(|name| catalog.find(name)) {
        let on = Securable::Object(object.name.clone());
        match &object.detail {
            Detail::Source(..) | Detail::View(..) => require(rights, Privilege::Select, on)?,
            Detail::Sink(_) => require(rights, Privilege::Insert, on)?,
            Detail::Model(_) => require(rights, Privilege::Predict, on)?,
            Detail::Function(_) | Detail::Lost(_) => {}
        }
        if object.kind == ObjectKind::View
            && let Some(owner) = rights.of_owner(&object.name)
        {
            require_uses(catalog, owner.as_ref(), &object.uses)?;
        }
    }
    Ok(())
}
