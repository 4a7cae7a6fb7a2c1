//! Roles and what they may do, as the journal has them: a key a role, and a key for what an object's owner and grants
//! are. Everybody belongs to `public`, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_plans::codec;
use tidemill_plans::ids::JobId;
use tidemill_sql::access::{Privilege, Rights, Securable};

use crate::error::Result;
use crate::meta::{MetaChange, MetaStore};

/// What all keys begin with, and those of each kind.
pub(super) const PREFIX: &str = "access/";
const ROLE: &str = "access/role/";
const HELD: &str = "access/held/";
const JOB: &str = "access/job/";

/// The role that everybody belongs to.
pub(super) const PUBLIC: &str = "public";

/// Its members see what all jobs do, and the workers, as PostgreSQL's `pg_monitor` does. It is there without being
/// created, and has no privileges on objects.
pub(crate) const MONITOR: &str = "tidemill_monitor";

/// Of which everybody is a member that is no role.
#[derive(Debug, Clone, PartialEq, Eq, Default, bincode::Encode, bincode::Decode)]
pub(super) struct Role {
    pub(super) can_log_in: bool,
    pub(super) is_superuser: bool,
    /// The hash of its password.
    pub(super) password: Option<String>,
    /// Until when it may log in, in microseconds since 1970; for ever without it.
    pub(super) valid_until: Option<i64>,
    /// The roles whose privileges it has, too.
    pub(super) member_of: BTreeSet<String>,
    /// How much its members may have at a time, by the names of the limits.
    pub(super) limits: BTreeMap<String, u32>,
}

/// Who owns something, and what others may do with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, bincode::Encode, bincode::Decode)]
pub(super) struct Held {
    pub(super) owner: Option<String>,
    /// The names of privileges, by role.
    pub(super) grants: BTreeMap<String, BTreeSet<String>>,
}

/// All roles, and all that they may do.
#[derive(Debug, Clone, Default)]
pub(super) struct Roles {
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) held: BTreeMap<Securable, Held>,
    /// The owners of jobs that are nobody's object.
    pub(super) jobs: BTreeMap<JobId, String>,
}

impl Roles {
    /// Reads them back.
    pub(super) fn read(stored: &[(Vec<u8>, Vec<u8>)]) -> Result<Self> {
        let mut roles = Self::default();
        for (key, value) in stored {
            let Ok(key) = std::str::from_utf8(key) else { continue };
            if let Some(name) = key.strip_prefix(ROLE) {
                roles.roles.insert(name.to_owned(), codec::decode(value)?);
            } else if let Some(what) = key.strip_prefix(HELD).and_then(securable) {
                roles.held.insert(what, codec::decode(value)?);
            } else if let Some(job) = key.strip_prefix(JOB).and_then(|job| job.parse().ok()) {
                roles.jobs.insert(JobId(job), codec::decode(value)?);
            }
        }
        Ok(roles)
    }

    /// Whether everybody has to say who they are: somebody can.
    pub(super) fn is_on(&self) -> bool {
        self.roles.values().any(|role| role.password.is_some())
    }

    /// A role and all that it belongs to, one way or another.
    pub(super) fn all_of(&self, name: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::from([String::from(PUBLIC)]);
        let mut waiting = vec![name];
        while let Some(name) = waiting.pop() {
            if all.insert(name.to_owned())
                && let Some(role) = self.roles.get(name)
            {
                waiting.extend(role.member_of.iter().map(String::as_str));
            }
        }
        all
    }

    /// How many superusers can log in with a password.
    pub(super) fn superusers(&self) -> usize {
        self.roles.values().filter(|role| role.is_superuser && role.can_log_in && role.password.is_some()).count()
    }

    /// The first thing that a role owns.
    pub(super) fn owned_by(&self, name: &str) -> Option<String> {
        let is_owner = |held: &Held| held.owner.as_deref() == Some(name);
        self.held.iter().find(|(_, held)| is_owner(held)).map(|(what, _)| what.to_string())
    }
}

/// The change that keeps a role.
pub(super) fn keep(name: &str, role: &Role) -> Result<MetaChange> {
    Ok((format!("{ROLE}{name}").into_bytes(), Some(codec::encode(role)?)))
}

/// The change that forgets a role.
pub(super) fn forget(name: &str) -> MetaChange {
    (format!("{ROLE}{name}").into_bytes(), None)
}

/// The change that keeps who owns something and who may what.
pub(super) fn hold(what: &Securable, held: &Held) -> Result<MetaChange> {
    Ok((key(what), Some(codec::encode(held)?)))
}

/// The change that forgets who owns something.
pub(super) fn release(what: &Securable) -> MetaChange {
    (key(what), None)
}

/// The change that keeps whose a job is, or forgets it.
pub(super) fn own_job(job: JobId, owner: Option<&str>) -> Result<MetaChange> {
    let owner = owner.map(|owner| codec::encode(&owner.to_owned())).transpose()?;
    Ok((format!("{JOB}{}", job.0).into_bytes(), owner))
}

/// The change that gives a new object its owner. One that takes another's place has that one's owner and grants.
pub(crate) fn owned(store: &dyn MetaStore, object: &str, owner: Option<&str>) -> Result<Option<MetaChange>> {
    let Some(owner) = owner else { return Ok(None) };
    let what = Securable::Object(object.to_owned());
    if store.get(&key(&what))?.is_some() {
        return Ok(None);
    }
    hold(&what, &Held { owner: Some(owner.to_owned()), ..Held::default() }).map(Some)
}

/// The change that takes an object from its owner, and from all who could do something with it.
pub(crate) fn disowned(object: &str) -> MetaChange {
    release(&Securable::Object(object.to_owned()))
}

fn key(what: &Securable) -> Vec<u8> {
    let (kind, name) = match what {
        Securable::Object(name) => ("object", name.as_str()),
        Securable::Connector(name) => ("connector", name.as_str()),
        Securable::Secret(name) => ("secret", name.as_str()),
        Securable::Schema => ("schema", PUBLIC),
    };
    format!("{HELD}{kind}/{name}").into_bytes()
}

fn securable(key: &str) -> Option<Securable> {
    let (kind, name) = key.split_once('/')?;
    let name = name.to_owned();
    Some(match kind {
        "object" => Securable::Object(name),
        "connector" => Securable::Connector(name),
        "secret" => Securable::Secret(name),
        "schema" => Securable::Schema,
        _ => return None,
    })
}

/// The rights of a role, as they were when somebody asked.
#[derive(Debug, Clone)]
pub(super) struct RoleRights {
    roles: Arc<Roles>,
    name: String,
    /// Itself, and all roles that it belongs to.
    all: BTreeSet<String>,
    is_superuser: bool,
}

impl RoleRights {
    pub(super) fn new(roles: &Arc<Roles>, name: &str) -> Self {
        let is_superuser = roles.roles.get(name).is_some_and(|role| role.is_superuser);
        Self { roles: Arc::clone(roles), name: name.to_owned(), all: roles.all_of(name), is_superuser }
    }
}

impl Rights for RoleRights {
    fn user(&self) -> &str {
        &self.name
    }

    fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    fn has(&self, privilege: Privilege, on: &Securable) -> bool {
        let Some(held) = self.roles.held.get(on) else { return self.is_superuser };
        let granted = |role: &String| held.grants.get(role).is_some_and(|granted| granted.contains(privilege.name()));
        self.owns(on) || self.all.iter().any(granted)
    }

    fn owns(&self, what: &Securable) -> bool {
        let owner = self.roles.held.get(what).and_then(|held| held.owner.as_ref());
        self.is_superuser || owner.is_some_and(|owner| self.all.contains(owner))
    }

    fn is_free(&self, what: &Securable) -> bool {
        self.roles.held.get(what).is_none_or(|held| held.owner.is_none())
    }

    fn of_owner(&self, object: &str) -> Option<Arc<dyn Rights>> {
        let held = self.roles.held.get(&Securable::Object(object.to_owned()))?;
        let owner = Self::new(&self.roles, held.owner.as_deref()?);
        (!owner.is_superuser).then(|| Arc::new(owner) as Arc<dyn Rights>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_come_back_as_they_were_kept() {
        let ann = Role { can_log_in: true, member_of: BTreeSet::from([String::from("readers")]), ..Role::default() };
        let grants = BTreeMap::from([(String::from("readers"), BTreeSet::from([String::from("SELECT")]))]);
        let held = Held { owner: Some(String::from("ann")), grants };
        let all = [
            Securable::Object(String::from("a/b")),
            Securable::Connector(String::from("files")),
            Securable::Secret(String::from("s")),
            Securable::Schema,
        ];
        let mut changes = vec![keep("ann", &ann).unwrap(), own_job(JobId(7), Some("ann")).unwrap()];
        changes.extend(all.iter().map(|what| hold(what, &held).unwrap()));
        let stored: Vec<_> = changes.into_iter().map(|(key, value)| (key, value.unwrap())).collect();
        let roles = Roles::read(&stored).unwrap();
        assert_eq!((roles.roles.get("ann"), roles.jobs.get(&JobId(7)).map(String::as_str)), (Some(&ann), Some("ann")));
        assert!(all.iter().all(|what| roles.held.get(what) == Some(&held)));
        assert_eq!(roles.owned_by("ann").as_deref(), Some("\"a/b\""));
        assert!(!roles.is_on());
    }

    #[test]
    fn privileges_come_by_membership() {
        let member = |of: &[&str]| Role { member_of: of.iter().map(ToString::to_string).collect(), ..Role::default() };
        let mut roles = Roles::default();
        roles.roles.insert(String::from("readers"), member(&["all_readers"]));
        roles.roles.insert(String::from("ann"), member(&["readers"]));
        roles.roles.insert(String::from("root"), Role { is_superuser: true, ..Role::default() });
        let table = Securable::Object(String::from("t"));
        let grant = |role: &str| (role.to_owned(), BTreeSet::from([String::from("SELECT")]));
        let grants = BTreeMap::from([grant("all_readers")]);
        roles.held.insert(table.clone(), Held { owner: Some(String::from("readers")), grants });
        let roles = Arc::new(roles);
        let rights = |name: &str| RoleRights::new(&roles, name);
        assert!(rights("ann").has(Privilege::Select, &table) && rights("ann").has(Privilege::Insert, &table));
        assert!(rights("ann").owns(&table) && !rights("all_readers").owns(&table));
        assert!(rights("all_readers").has(Privilege::Select, &table));
        assert!(!rights("all_readers").has(Privilege::Insert, &table) && !rights("bob").has(Privilege::Select, &table));
        assert!(rights("root").owns(&table) && rights("root").has(Privilege::Usage, &Securable::Schema));
        assert!(rights("bob").of_owner("t").is_some() && rights("bob").of_owner("other").is_none());
    }
}
