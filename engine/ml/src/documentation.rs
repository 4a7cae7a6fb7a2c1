//! The options of docs/models.md are what the algorithms say of themselves: `UPDATE_EXPECT=1 cargo test -p tidemill-ml` writes
//! them below the line that begins them, and without it the test fails where they differ.

use std::fs;
use std::path::Path;

use expect_test::expect_file;

use crate::batch::{batch_option_docs, takes_label, valid_batch_model_types};
use crate::registry::{OptionDoc, learns_label, option_docs, valid_model_types};
use crate::tuning::{self, Target};

const FILE: &str = "../../docs/models.md";

/// The title of what most models over tables share.
const SHARED: &str = "Splits and searches (models with a label; searches of `kmeans` and `gaussian_mixture`, too)";

/// Where the options begin.
const BEGIN: &str = "## Options of models over tables\n";

#[test]
fn models_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once(BEGIN).expect("a line that begins the options");
    let batch = valid_batch_model_types();
    for name in batch.iter().chain(&valid_model_types()) {
        assert!(head.contains(&format!("`{name}`")), "{FILE} says nothing of {name}");
    }
    let title = |name: &str, takes_label: bool| {
        let label = if takes_label { "" } else { " (takes no label)" };
        format!("`{name}`{label}")
    };
    let of_tables =
        batch.iter().map(|name| section(&title(name, takes_label(name).unwrap()), &batch_option_docs(name).unwrap()));
    let of_tables = of_tables.chain([section(SHARED, &tuning::option_docs(Target::Classes, &[]))]);
    let of_streams = valid_model_types()
        .into_iter()
        .map(|name| section(&title(name, learns_label(name).unwrap()), &option_docs(name).unwrap()));
    let (of_tables, of_streams) = (of_tables.collect::<String>(), of_streams.collect::<String>());
    let all = format!("{head}{BEGIN}{of_tables}\n## Options of models over streams\n{of_streams}");
    expect_file![path].assert_eq(&all);
}

/// A kind of model and its options, as a table.
fn section(title: &str, options: &[OptionDoc]) -> String {
    let row = |option: &OptionDoc| {
        let OptionDoc { name, data_type, default, doc } = option;
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        format!("| `{name}` | {} | {default} | {} |\n", escaped(data_type), escaped(doc))
    };
    if options.is_empty() {
        return format!("\n### {title}\n\nIt has no options of its own.\n");
    }
    let rows: String = options.iter().map(row).collect();
    format!("\n### {title}\n\n| option | value | default | |\n|---|---|---|---|\n{rows}")
}

/// A text in a cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
