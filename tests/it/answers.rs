//! Queries in files, and the answers that another engine has given to them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::Output;

/// How far numbers may be apart, of 1 or of the greater one: an average is a DOUBLE there and a DECIMAL here.
const TOLERANCE: f64 = 1e-6;

/// The paths of a folder's queries, in order.
pub(crate) fn queries(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "sql")).collect();
    paths.sort();
    paths
}

/// Compares what was printed, one result behind the other, with what is expected.
pub(crate) fn compare(format: &str, output: Output, queries: &[PathBuf]) {
    let mut printed = records(&output.stdout).into_iter();
    for query in queries {
        let name = query.file_stem().unwrap().to_str().unwrap();
        let expected = query.parent().unwrap().join("expected").join(format!("{name}.csv"));
        let expected = records(&fs::read_to_string(expected).unwrap());
        // Its names are another engine's where a column has none.
        assert_eq!(printed.next().map(|header| header.len()), Some(expected[0].len()), "{format}, {name}");
        for (row, expected) in expected.iter().enumerate().skip(1) {
            let found = printed.next().unwrap_or_default();
            let same = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| is_same(a, b));
            assert!(same, "{format}, {name}, row {row}: {found:?} and not {expected:?}");
        }
    }
    assert_eq!(printed.next(), None, "{format}");
}

fn is_same(found: &str, expected: &str) -> bool {
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) => (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
        _ => found == expected,
    }
}

/// The records of a CSV; a field in quotes may hold commas.
fn records(text: &str) -> Vec<Vec<String>> {
    let record = |line: &str| {
        let (mut fields, mut quoted) = (vec![String::new()], false);
        for letter in line.chars() {
            match letter {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                _ => fields.last_mut().unwrap().push(letter),
            }
        }
        fields
    };
    text.lines().map(record).collect()
}
