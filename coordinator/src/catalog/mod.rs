//! The durable catalog: entries in the order in which they were created.
//!
//! The key is the position, so that replaying the definitions meets each object after those that it
//! refers to. An object that replaces another comes last: nothing refers to it yet, and it may refer to any other.

use tidemill_plans::catalog::CatalogEntry;
use tidemill_plans::codec;

use crate::error::Result;
use crate::meta::{MetaChange, MetaStore};

const PREFIX: &str = "catalog/";

/// All entries, oldest first.
pub fn entries(store: &dyn MetaStore) -> Result<Vec<CatalogEntry>> {
    Ok(positions(store)?.into_iter().map(|(_, entry)| entry).collect())
}

/// The changes that record entries, in this order, each instead of one with the same name if there is one.
pub fn record(store: &dyn MetaStore, entries: &[CatalogEntry]) -> Result<Vec<MetaChange>> {
    let positions = positions(store)?;
    let is_replaced = |old: &CatalogEntry| entries.iter().any(|entry| entry.name == old.name);
    let replaced = positions.iter().filter(|(_, old)| is_replaced(old));
    let mut changes: Vec<MetaChange> = replaced.map(|(position, _)| (position.clone(), None)).collect();
    let mut last = positions.last().map(|(position, _)| position.clone());
    for entry in entries {
        let position = next_position(last.as_deref());
        changes.push((position.clone(), Some(codec::encode(entry)?)));
        last = Some(position);
    }
    Ok(changes)
}

/// The change that removes an entry; none if there is no such entry.
pub fn remove(store: &dyn MetaStore, name: &str) -> Result<Option<MetaChange>> {
    let found = positions(store)?.into_iter().find(|(_, entry)| entry.name == name);
    Ok(found.map(|(position, _)| (position, None)))
}

fn positions(store: &dyn MetaStore) -> Result<Vec<(Vec<u8>, CatalogEntry)>> {
    let stored = store.scan(PREFIX.as_bytes())?;
    stored.into_iter().map(|(key, value)| Ok((key, codec::decode(&value)?))).collect()
}

/// The key behind the last one.
fn next_position(last: Option<&[u8]>) -> Vec<u8> {
    let number = last
        .and_then(|key| std::str::from_utf8(&key[PREFIX.len()..]).ok()?.parse::<u64>().ok())
        .map_or(0, |number| number + 1);
    format!("{PREFIX}{number:020}").into_bytes()
}

#[cfg(test)]
mod tests {
    use tidemill_plans::catalog::ObjectKind;

    use super::*;
    use crate::meta::JournalStore;
    use crate::testing::run;

    fn entry(name: &str, definition: &str) -> CatalogEntry {
        CatalogEntry { name: name.into(), kind: ObjectKind::View, definition: definition.into() }
    }

    #[test]
    fn entries_keep_their_order_and_replacements_come_last() {
        run(async {
            let mut store = JournalStore::in_memory().await.unwrap();
            for recorded in [&[entry("b", "1"), entry("a", "2")][..], &[entry("c", "3")], &[entry("a", "4")]] {
                let changes = record(&store, recorded).unwrap();
                store.commit(changes).await.unwrap();
            }
            assert_eq!(entries(&store).unwrap(), [entry("b", "1"), entry("c", "3"), entry("a", "4")]);
            let change = remove(&store, "b").unwrap().unwrap();
            store.commit(vec![change]).await.unwrap();
            assert_eq!(remove(&store, "b").unwrap(), None);
            let changes = record(&store, &[entry("b", "5")]).unwrap();
            store.commit(changes).await.unwrap();
            assert_eq!(entries(&store).unwrap(), [entry("c", "3"), entry("a", "4"), entry("b", "5")]);
        });
    }
}
