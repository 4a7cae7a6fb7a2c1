//! What nobody is to read in what a process writes to standard error: the values of the secrets that it has.
//!
//! Standard error is the process's, and so is what is known here.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

/// What stands in the place of a secret that somebody would read.
const REDACTED: &str = "***";

/// So many values are known; of more, those are forgotten that came first.
const VALUES_MAX: usize = 10_000;

static KNOWN: RwLock<VecDeque<String>> = RwLock::new(VecDeque::new());

/// Notes values that this process has, and that nobody is to read.
pub fn learn<'a>(values: impl IntoIterator<Item = &'a str>) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for value in values.into_iter().filter(|value| !value.is_empty()) {
        if known.iter().any(|other| other == value) {
            continue;
        }
        known.push_back(value.to_owned());
    }
    let more = known.len().saturating_sub(VALUES_MAX);
    known.drain(..more);
}

/// A text without the values that are known.
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    without(text, known.iter().map(String::as_str))
}

/// A text without these values, also as they are printed between quotation marks.
#[must_use]
pub fn without<'a, 'b>(text: &'a str, values: impl Iterator<Item = &'b str>) -> Cow<'a, str> {
    let forms = values.flat_map(|value| [value.to_owned(), value.escape_debug().to_string()]);
    let mut found: Vec<String> = forms.filter(|form| text.contains(form.as_str())).collect();
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    // One may be part of another.
    found.sort_by_key(|form| std::cmp::Reverse(form.len()));
    Cow::Owned(found.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), REDACTED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_whole_and_as_they_are_printed() {
        let values = ["hush", "hush hush", "a\"b"];
        let redacted = |text| without(text, values.into_iter()).into_owned();
        assert_eq!(redacted("it is hush hush, hush"), "it is ***, ***");
        assert_eq!(redacted(&format!("{:?}", "url a\"b")), "\"url ***\"");
        assert!(matches!(without("nothing", values.into_iter()), Cow::Borrowed("nothing")));
    }

    #[test]
    fn what_was_learnt_is_known_until_too_much_is() {
        learn(["first-of-all", "", "first-of-all"]);
        assert_eq!(redacted("the first-of-all: "), "the ***: ");
        let many: Vec<String> = (0..VALUES_MAX).map(|number| format!("many-{number}-of-them")).collect();
        learn(many.iter().map(String::as_str));
        assert_eq!(redacted("first-of-all many-7-of-them"), "first-of-all ***");
    }
}
