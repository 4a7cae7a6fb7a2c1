//! Folders whose names say what a column is in all files below them, as in `k=v/file.csv`.

use std::path::Path;

use crate::connector::option;

/// The option of a table of files that names such columns, from the outermost folder on.
pub const PARTITION_OPTION: &str = "partition_columns";

/// What a folder is called whose rows have no value.
pub const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns of a table that names of folders say.
#[must_use]
pub fn partition_columns(options: &[(String, String)]) -> Vec<String> {
    let names = option(options, PARTITION_OPTION).unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Names and values that the innermost folders of a file say, so many of them, from the outermost on; nothing if one says
/// none.
#[must_use]
pub fn partition_values(file: &Path, folders: usize) -> Option<Vec<(String, Option<String>)>> {
    let mut values = Vec::with_capacity(folders);
    let mut folder = file.parent();
    for _ in 0..folders {
        let (name, value) = folder?.file_name()?.to_str()?.split_once('=')?;
        values.push((decoded(name), Some(value).filter(|value| *value != NULL_PARTITION).map(decoded)));
        folder = folder?.parent();
    }
    values.reverse();
    Some(values)
}

/// A text in which characters that paths do not take are a percent sign and two digits.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let code = match (first, others) {
            (b'%', [high, low, ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low)
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &others[2..] } else { others };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, folders: usize, expected: Option<&[(&str, Option<&str>)]>) {
        let values = partition_values(Path::new(file), folders);
        let own = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        assert_eq!(values, expected.map(|expected| expected.iter().map(own).collect::<Vec<_>>()), "{file}");
    }

    #[test]
    fn folders_say_names_and_values() {
        check("t/y=2024/k=a%2Fb/f.csv", 2, Some(&[("y", Some("2024")), ("k", Some("a/b"))]));
        check("t/k=__HIVE_DEFAULT_PARTITION__/f.csv", 1, Some(&[("k", None)]));
        check("t/k=/f.csv", 1, Some(&[("k", Some(""))]));
        check("t/k=50%/f.csv", 1, Some(&[("k", Some("50%"))]));
        check("t/k/f.csv", 1, None);
        check("k=1/f.csv", 2, None);
    }

    #[test]
    fn options_name_columns() {
        let options = |text: &str| [(String::from(PARTITION_OPTION), String::from(text))];
        assert_eq!(partition_columns(&options("y, k")), ["y", "k"]);
        assert_eq!(partition_columns(&[]), Vec::<String>::new());
    }
}
