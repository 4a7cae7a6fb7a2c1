//! Scripts in tests/sql/*.sql and what they print, in a file of the same name that ends in .out.
//!
//! `TIDEMILL_BLESS=1 cargo test --test it slt` writes the .out files anew: look at the difference
//! before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Output, PATIENCE, Run};
use crate::flights;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn scripts_print_what_they_printed_before() {
    let mut scripts: Vec<PathBuf> = fs::read_dir(root().join("tests/sql"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let failures: Vec<String> = scripts.iter().filter_map(|script| check(script).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The example's own script, with its plan in place of its run.
#[test]
fn the_plan_of_the_flights_example() {
    let example = fs::read_to_string(root().join("examples/flights/delays.sql")).unwrap();
    let sql = example
        .replace("CREATE SINK predicted", "EXPLAIN CREATE SINK predicted")
        .replace("SELECT '2013-'", "EXPLAIN SELECT '2013-'");
    assert_eq!(sql.matches("EXPLAIN").count(), 2, "the example has changed");
    // The model is created, and so it is trained; a few days of data are enough for that.
    let output = flights::few_days().run(&sql.replace("examples/flights/data/", ""), &[]).success();
    compare(&root().join("tests/sql/flights_plan.out"), &output.stdout).unwrap();
}

fn check(script: &Path) -> Result<(), String> {
    let name = script.strip_prefix(root()).unwrap();
    let output = Run::start(root(), &["run", name.to_str().unwrap()]).output(PATIENCE);
    compare(&script.with_extension("out"), &shown(&output))
}

/// What a script prints, and its error if it fails: progress has times in it and is left out.
fn shown(output: &Output) -> String {
    let errors = output.stderr.lines().filter(|line| line.starts_with("error: "));
    errors.fold(output.stdout.clone(), |text, line| format!("{text}{line}\n"))
}

fn compare(expected: &Path, found: &str) -> Result<(), String> {
    if std::env::var("TIDEMILL_BLESS").is_ok() {
        fs::write(expected, found).unwrap();
        return Ok(());
    }
    let known = fs::read_to_string(expected).unwrap_or_default();
    if known == found {
        return Ok(());
    }
    let place = known.lines().zip(found.lines()).take_while(|(known, found)| known == found).count() + 1;
    let name = expected.strip_prefix(root()).unwrap().display();
    Err(format!("{name} differs from line {place} on; TIDEMILL_BLESS=1 rewrites it. What was printed:\n{found}"))
}
