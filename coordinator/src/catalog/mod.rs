//! The durable catalog: entries in the order in which they were created.
//!
//! The key is the position, so that replaying the definitions meets each object after those that it
//! refers to. A replaced object keeps its position: what refers to it comes later.

use tidemill_plans::catalog::CatalogEntry;
use tidemill_plans::codec;

use crate::error::Result;
use crate::meta::{MetaChange, MetaStore};

const PREFIX: &str = "catalog/";

/// All entries, oldest first.
pub fn entries(store: &dyn MetaStore) -> Result<Vec<CatalogEntry>> {
    Ok(positions(store)?.into_iter().map(|(_, entry)| entry).collect())
}

/// The change that records an entry, in the place of one with the same name if there is one.
pub fn record(store: &dyn MetaStore, entry: &CatalogEntry) -> Result<MetaChange> {
    let positions = positions(store)?;
    let position = match positions.iter().find(|(_, old)| old.name == entry.name) {
        Some((position, _)) => position.clone(),
        None => next_position(positions.last().map(|(position, _)| position.as_slice())),
    };
    Ok((position, Some(codec::encode(entry)?)))
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
    fn entries_keep_their_order_and_replacements_their_place() {
        run(async {
            let mut store = JournalStore::in_memory().await.unwrap();
            for (name, definition) in [("b", "1"), ("a", "2"), ("c", "3"), ("a", "4")] {
                let change = record(&store, &entry(name, definition)).unwrap();
                store.commit(vec![change]).await.unwrap();
            }
            assert_eq!(entries(&store).unwrap(), [entry("b", "1"), entry("a", "4"), entry("c", "3")]);
            let change = remove(&store, "b").unwrap().unwrap();
            store.commit(vec![change]).await.unwrap();
            assert_eq!(remove(&store, "b").unwrap(), None);
            let change = record(&store, &entry("b", "5")).unwrap();
            store.commit(vec![change]).await.unwrap();
            assert_eq!(entries(&store).unwrap(), [entry("a", "4"), entry("c", "3"), entry("b", "5")]);
        });
    }
}
