//! The versions of a model that can be asked: the one that has learnt most, some before it, and those that have an alias.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemill_plans::catalog::{ModelWeights, UNTIMED};
use tidemill_plans::model_reference::WantedVersion;
use tidemill_plans::prediction::KnownVersion;

use super::ServedModel;

/// Versions of a model over tables that stay when others have replaced them, besides those with an alias. One that learns
/// from a stream has too many for that: of those only what has an alias stays.
const KEPT_VERSIONS: usize = 10;

/// What is in a file of its own when it is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The version that has learnt most.
    Newest,
    /// One that stays.
    Version(i64),
    /// Which version has which alias.
    Aliases,
}

/// Versions of one model.
#[derive(Default)]
pub(super) struct Versions {
    /// None while a model is trained that takes other columns.
    pub(super) newest: Option<Arc<ServedModel>>,
    /// Those that stay, by number; the newest may be among them.
    pub(super) kept: BTreeMap<i64, Arc<ServedModel>>,
    pub(super) aliases: BTreeMap<String, i64>,
}

impl Versions {
    /// Takes note of a version; returns what has changed. Another job may learn the same model from the beginning: what has
    /// learnt most stays the newest, and of a model over tables what was fitted last.
    pub(super) fn put(&mut self, served: &Arc<ServedModel>) -> Vec<Part> {
        let learnt = |of: &ServedModel| {
            let ModelWeights { learnt_to, version, .. } = of.weights.as_ref();
            (*learnt_to, if *learnt_to == UNTIMED { *version } else { 0 })
        };
        if self.newest.as_ref().is_some_and(|newest| learnt(newest) > learnt(served)) {
            return Vec::new();
        }
        self.newest = Some(Arc::clone(served));
        let mut changed = vec![Part::Newest];
        if served.weights.learnt_to == UNTIMED {
            let version = served.weights.version;
            self.kept.insert(version, Arc::clone(served));
            changed.push(Part::Version(version));
            changed.extend(self.forget_old());
        }
        changed
    }

    /// Gives a version an alias, which another may have had; returns what has changed.
    pub(super) fn set_alias(&mut self, alias: &str, version: i64) -> Result<Vec<Part>, String> {
        let served = self.find(WantedVersion::Number(version))?;
        self.kept.insert(version, served);
        self.aliases.insert(alias.to_owned(), version);
        let mut changed = vec![Part::Version(version), Part::Aliases];
        changed.extend(self.forget_old());
        Ok(changed)
    }

    /// Takes an alias away; returns what has changed.
    pub(super) fn unset_alias(&mut self, alias: &str) -> Result<Vec<Part>, String> {
        if self.aliases.remove(alias).is_none() {
            return Err(self.no_alias(alias));
        }
        let mut changed = vec![Part::Aliases];
        changed.extend(self.forget_old());
        Ok(changed)
    }

    /// Lets versions go that are too old and have no alias; returns which.
    fn forget_old(&mut self) -> Vec<Part> {
        let named: BTreeSet<i64> = self.aliases.values().copied().collect();
        let plain = self.kept.iter().rev().filter(|(version, _)| !named.contains(version));
        let (over_tables, of_streams): (Vec<_>, Vec<_>) =
            plain.partition(|(_, served)| served.weights.learnt_to == UNTIMED);
        let old = over_tables.into_iter().skip(KEPT_VERSIONS).chain(of_streams).map(|(version, _)| *version);
        let old: Vec<i64> = old.collect();
        old.iter().for_each(|version| drop(self.kept.remove(version)));
        old.into_iter().map(Part::Version).collect()
    }

    /// The version that is meant; or why it is not there.
    pub(super) fn find(&self, wanted: WantedVersion<'_>) -> Result<Arc<ServedModel>, String> {
        let newest = || self.newest.clone().ok_or_else(|| String::from("it has published no version yet"));
        match wanted {
            WantedVersion::Newest => newest(),
            WantedVersion::Number(version) => {
                let is_it = |newest: &Arc<ServedModel>| newest.weights.version == version;
                let found = self.newest.clone().filter(is_it).or_else(|| self.kept.get(&version).cloned());
                found.ok_or_else(|| self.no_version(version))
            }
            WantedVersion::Alias(alias) => {
                let version = self.aliases.get(alias).ok_or_else(|| self.no_alias(alias))?;
                self.kept.get(version).cloned().ok_or_else(|| self.no_version(*version))
            }
        }
    }

    fn no_version(&self, version: i64) -> String {
        let there: Vec<String> = self.known().iter().map(|known| known.version.to_string()).collect();
        format!("it has no version {version} that can be asked; there are: {}", list(&there))
    }

    fn no_alias(&self, alias: &str) -> String {
        let there: Vec<String> = self.aliases.keys().cloned().collect();
        format!("it has no alias '{alias}'; there are: {}", list(&there))
    }

    /// All versions, by number.
    pub(super) fn known(&self) -> Vec<KnownVersion> {
        let newest = self.newest.as_ref().map(|newest| newest.weights.version);
        let mut all: BTreeMap<i64, &Arc<ServedModel>> =
            self.kept.iter().map(|(version, served)| (*version, served)).collect();
        all.extend(self.newest.iter().map(|served| (served.weights.version, served)));
        let known = |(version, served): (i64, &Arc<ServedModel>)| KnownVersion {
            version,
            learnt_to: served.weights.learnt_to,
            aliases: self.aliases.iter().filter(|(_, of)| **of == version).map(|(alias, _)| alias.clone()).collect(),
            is_newest: newest == Some(version),
        };
        all.into_iter().map(known).collect()
    }

    /// What of it is in files.
    pub(super) fn parts(&self) -> Vec<Part> {
        let versions = self.kept.keys().map(|version| Part::Version(*version));
        [Part::Newest, Part::Aliases].into_iter().chain(versions).collect()
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { String::from("none") } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::served;
    use super::*;

    fn version(version: i64, learnt_to: i64) -> Arc<ServedModel> {
        let (model, label) = (String::from("m"), String::new());
        served(ModelWeights { model, version, learnt_to, label, state: Vec::new() })
    }

    fn number(versions: &Versions, wanted: WantedVersion<'_>) -> Result<i64, String> {
        versions.find(wanted).map(|served| served.weights.version)
    }

    fn kept(versions: &Versions) -> Vec<i64> {
        versions.known().iter().map(|known| known.version).collect()
    }

    #[test]
    fn versions_over_tables_stay_until_there_are_many() {
        let mut versions = Versions::default();
        assert_eq!(number(&versions, WantedVersion::Newest).unwrap_err(), "it has published no version yet");
        for n in 1..=KEPT_VERSIONS as i64 {
            versions.put(&version(n, UNTIMED));
        }
        assert_eq!(versions.put(&version(3, UNTIMED)), [], "a job that fits an older one again");
        versions.set_alias("champion", 1).unwrap();
        assert_eq!(versions.put(&version(11, UNTIMED)), [Part::Newest, Part::Version(11)]);
        assert_eq!(versions.put(&version(12, UNTIMED)), [Part::Newest, Part::Version(12), Part::Version(2)]);
        assert_eq!(kept(&versions), [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(number(&versions, WantedVersion::Newest), Ok(12));
        assert_eq!(number(&versions, WantedVersion::Number(3)), Ok(3));
        assert_eq!(number(&versions, WantedVersion::Alias("champion")), Ok(1));
        let gone = number(&versions, WantedVersion::Number(2)).unwrap_err();
        assert_eq!(gone, "it has no version 2 that can be asked; there are: 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12");
        // Without its alias the oldest is one too many.
        assert_eq!(versions.unset_alias("champion").unwrap(), [Part::Aliases, Part::Version(1)]);
        assert_eq!(versions.unset_alias("champion").unwrap_err(), "it has no alias 'champion'; there are: none");
    }

    #[test]
    fn of_a_stream_what_has_an_alias_stays() {
        let mut versions = Versions::default();
        versions.put(&version(1, 10));
        assert_eq!(versions.set_alias("good", 1).unwrap(), [Part::Version(1), Part::Aliases]);
        assert_eq!(versions.put(&version(2, 20)), [Part::Newest]);
        versions.put(&version(3, 30));
        assert_eq!(kept(&versions), [1, 3]);
        assert!(versions.set_alias("good", 2).is_err());
        let known = versions.known();
        assert!(known[0].aliases == ["good"] && !known[0].is_newest && known[1].is_newest, "{known:?}");
        // An alias moves at once, and what it leaves goes.
        assert_eq!(versions.set_alias("good", 3).unwrap(), [Part::Version(3), Part::Aliases, Part::Version(1)]);
        assert_eq!((number(&versions, WantedVersion::Alias("good")), kept(&versions)), (Ok(3), vec![3]));
        assert_eq!(versions.put(&version(9, 5)), [], "a job that learns it from the beginning");
    }
}
