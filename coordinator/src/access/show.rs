//! The rows of SHOW ROLES, SHOW GRANTS and SHOW SECRETS.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::time::EventTime;
use tidemill_sql::access::{AccessCommand, RoleLimit, Securable};

use super::roles::Roles;
use crate::error::Result;

/// A row a role. Whether it has a password is told, and nothing of it.
pub(super) fn roles(roles: &Roles) -> Result<RecordBatch> {
    let all = || roles.roles.iter();
    let flags = |flag: fn(&super::roles::Role) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(all().map(|(_, role)| Some(flag(role)))))
    };
    let limits = |limit: RoleLimit| -> ArrayRef {
        let max = |role: &super::roles::Role| role.limits.get(limit.name()).copied().map(i64::from);
        Arc::new(all().map(|(_, role)| max(role)).collect::<Int64Array>())
    };
    let until = all().map(|(_, role)| role.valid_until.map(|until| EventTime(until).to_string()));
    let member_of = all().map(|(_, role)| role.member_of.iter().cloned().collect::<Vec<_>>().join(", "));
    table(vec![
        ("role", texts(all().map(|(name, _)| name.clone()))),
        ("login", flags(|role| role.can_log_in)),
        ("superuser", flags(|role| role.is_superuser)),
        ("password", flags(|role| role.password.is_some())),
        ("valid_until", Arc::new(until.collect::<StringArray>())),
        ("member_of", texts(member_of)),
        (RoleLimit::Statements.name(), limits(RoleLimit::Statements)),
        (RoleLimit::Jobs.name(), limits(RoleLimit::Jobs)),
    ])
}

/// A row for each object that a role owns, and for each privilege that it has.
pub(super) fn grants(roles: &Roles, wanted: impl Fn(&str) -> bool) -> Result<RecordBatch> {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (what, held) in &roles.held {
        let owner = held.owner.iter().filter(|owner| wanted(owner)).map(|owner| (owner, "OWNER"));
        let granted = held.grants.iter().filter(|(role, _)| wanted(role));
        let granted = granted.flat_map(|(role, names)| names.iter().map(move |name| (role, name.as_str())));
        rows.extend(owner.chain(granted).map(|(role, name)| [role.clone(), name.to_owned(), what.to_string()]));
    }
    rows.sort();
    let column = |place: usize| texts(rows.iter().map(|row| row[place].clone()));
    table(vec![("role", column(0)), ("privilege", column(1)), ("on", column(2))])
}

/// A row a secret, without what it is.
pub(super) fn secrets(roles: &Roles, names: Vec<String>) -> Result<RecordBatch> {
    let owner = |name: &String| roles.held.get(&Securable::Secret(name.clone()))?.owner.clone();
    let owners: StringArray = names.iter().map(owner).collect();
    table(vec![("secret", texts(names.into_iter())), ("owner", Arc::new(owners))])
}

/// The columns of what a statement comes to.
pub(crate) fn columns(command: &AccessCommand) -> Result<SchemaRef> {
    let none = match command {
        AccessCommand::ShowGrants(_) => grants(&Roles::default(), |_| true)?,
        AccessCommand::ShowSecrets => secrets(&Roles::default(), Vec::new())?,
        AccessCommand::ShowAudit(_) => super::audit::rows(&[])?,
        _ => roles(&Roles::default())?,
    };
    Ok(none.schema())
}

pub(super) fn texts(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(super) fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter(columns).map_err(PlanError::from)?)
}
