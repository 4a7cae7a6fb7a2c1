//! Plans that somebody has damaged: whatever they say, they are read or refused, and take no longer for it than whole
//! ones.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One change of the bytes: of the one at this place, to another, none, or more.
fn damage(bytes: &mut Vec<u8>, (place, kind, by): (usize, u8, u8)) {
    if bytes.is_empty() {
        return;
    }
    let place = place % bytes.len();
    match kind {
        0 => bytes[place] = by,
        1 => bytes[place] = bytes[place].wrapping_add(1),
        2 => bytes[place] ^= 1 << (by % 8),
        3 => drop(bytes.remove(place)),
        4 => bytes.insert(place, by),
        5 => bytes.truncate(place),
        _ => {
            let end = (place + usize::from(by)).min(bytes.len());
            let copied = bytes[place..end].to_vec();
            bytes.splice(place..place, copied);
        }
    }
}

#[test]
fn damaged_plans_are_read_or_refused() {
    let plans: Vec<Vec<u8>> =
        queries().iter().flat_map(|(name, _)| FORMS.iter().filter_map(|form| made(name, form))).collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1_500));
    let changes = (0..plans.len(), vec((0usize..2_000, 0u8..7, any::<u8>()), 1..4));
    let outcome = runner.run(&changes, |(plan, changes)| {
        let mut bytes = plans[plan].clone();
        changes.into_iter().for_each(|change| damage(&mut bytes, change));
        if let Ok(parsed) = parse_substrait(&bytes) {
            // What is read is planned, or refused with a word.
            let _ = session().describe(&[parsed]);
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn bytes_by_chance_are_read_or_refused() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2_000));
    let outcome = runner.run(&vec(any::<u8>(), 0..200), |bytes| {
        let _ = parse_substrait(&bytes);
        Ok(())
    });
    outcome.unwrap();
}
