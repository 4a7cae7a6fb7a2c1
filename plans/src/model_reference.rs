//! How queries name a model: `m`, the version that has learnt most; `m$3`, a version by its number; `m@champion`, the version
//! that has an alias. SQL reads each as one name.

use std::fmt;

/// What comes before the number of a version.
const VERSION: char = '$';

/// What comes before an alias.
const ALIAS: char = '@';

/// A model, and which of its versions is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelReference<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The version.
    pub version: WantedVersion<'a>,
}

/// Which version of a model is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedVersion<'a> {
    /// That which has learnt most.
    Newest,
    /// That of this number.
    Number(i64),
    /// That which has this alias by now.
    Alias(&'a str),
}

impl<'a> ModelReference<'a> {
    /// Reads a name.
    ///
    /// # Errors
    /// What is wrong with the part behind `$` or `@`.
    pub fn parse(name: &'a str) -> Result<Self, String> {
        if let Some((model, number)) = name.rsplit_once(VERSION) {
            let version = number.parse().ok().filter(|number| *number > 0).map(WantedVersion::Number);
            let version =
                version.ok_or_else(|| format!("'{name}': a version is a number from 1 on, as in m{VERSION}3"))?;
            return Ok(Self { model, version });
        }
        match name.rsplit_once(ALIAS) {
            Some((_, "")) => Err(format!("'{name}': an alias is a name, as in m{ALIAS}champion")),
            Some((model, alias)) => Ok(Self { model, version: WantedVersion::Alias(alias) }),
            None => Ok(Self { model: name, version: WantedVersion::Newest }),
        }
    }

    /// Whether a model can have this name: one in which nothing speaks of a version.
    #[must_use]
    pub fn is_plain(name: &str) -> bool {
        !name.contains([VERSION, ALIAS])
    }
}

impl fmt::Display for ModelReference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            WantedVersion::Newest => f.write_str(self.model),
            WantedVersion::Number(number) => write!(f, "{}{VERSION}{number}", self.model),
            WantedVersion::Alias(alias) => write!(f, "{}{ALIAS}{alias}", self.model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_version_is_meant() {
        let parsed = |name| ModelReference::parse(name).map(|found| (found.model, found.version));
        assert_eq!(parsed("late"), Ok(("late", WantedVersion::Newest)));
        assert_eq!(parsed("late$12"), Ok(("late", WantedVersion::Number(12))));
        assert_eq!(parsed("late@champion"), Ok(("late", WantedVersion::Alias("champion"))));
        for name in ["late", "late$12", "late@champion"] {
            assert_eq!(ModelReference::parse(name).unwrap().to_string(), name);
        }
        assert!(parsed("late$").unwrap_err().contains("'late$': a version is a number"));
        assert!(parsed("late$0").is_err() && parsed("late$-1").is_err() && parsed("late$v2").is_err());
        assert!(parsed("late@").unwrap_err().contains("an alias is a name"));
        assert!(ModelReference::is_plain("late_2") && !ModelReference::is_plain("a@b"));
    }
}
