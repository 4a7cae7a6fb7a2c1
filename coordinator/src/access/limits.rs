//! How much the members of a role may have at a time.
//!
//! Counted are users, and what a role has is what its members have: so it is true whoever belongs to it by now, and a
//! limit counts what had begun before it was set.

use tidemill_sql::access::{AccessCommand, RoleLimit};

use super::Access;
use crate::error::{CoordinatorError, Result};

impl Access {
    /// An error if a user would have too much with one more: by a limit of its own, or of a role that it belongs to.
    /// `held` is what each user has now. Superusers have no limits, so that somebody can always take them back.
    pub(crate) fn check_limit<'a>(
        &self,
        limit: RoleLimit,
        user: &str,
        held: impl Iterator<Item = (&'a str, usize)> + Clone,
    ) -> Result<()> {
        let roles = self.roles();
        let max = |role: &str| roles.roles.get(role)?.limits.get(limit.name()).copied();
        if roles.roles.get(user).is_none_or(|role| role.is_superuser) {
            return Ok(());
        }
        for role in roles.all_of(user) {
            let Some(max) = max(&role) else { continue };
            let of_members = held.clone().filter(|(member, _)| roles.all_of(member).contains(&role));
            let has: usize = of_members.map(|(_, count)| count).sum();
            if has >= max as usize {
                let (what, more) = (limit.what(), max.saturating_mul(2).max(1));
                let allows = AccessCommand::SetLimit { role: role.clone(), limit, max: more }.to_string();
                return Err(CoordinatorError::TooManyOfRole { role, max, what, allows });
            }
        }
        Ok(())
    }
}
