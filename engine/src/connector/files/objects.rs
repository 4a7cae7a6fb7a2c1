//! Finds the objects that a URL names, as files are found: one, those of a format in a folder, or what a glob matches. A
//! store lists names, so a glob is asked for by what it begins with.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use glob::{MatchOptions, Pattern};
use object_store::ObjectMeta;

use super::listing::{Place, is_in_progress, no_glob};
use super::medium::BucketFiles;
use super::{extension, file_error};
use crate::error::Result;

/// As in paths: a star does not reach into folders, two do.
const AS_PATHS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

const WILDCARDS: [char; 3] = ['*', '?', '['];

/// What a URL names.
pub(super) fn place(files: &BucketFiles, url: &str, format: &str) -> Result<Place> {
    let path = Path::new(url);
    let key = files.key(path).map_err(file_error("open", path))?;
    let has_wildcards = url.contains(WILDCARDS);
    if !key.as_ref().is_empty() && !url.ends_with('/') && !has_wildcards {
        let object = files.look_now(path).map_err(file_error("open", path))?;
        if let Some(object) = object {
            files.note([object]);
            return Ok(Place::File(path.to_path_buf()));
        }
    }
    Ok(Place::Glob(match has_wildcards {
        true => url.to_owned(),
        false => format!("{}/*.{}", url.trim_end_matches('/'), extension(format)),
    }))
}

/// The objects of a place that are complete, and since when they are as they are.
pub(super) fn of_place(files: &BucketFiles, place: &Place) -> Result<Vec<(PathBuf, SystemTime)>> {
    let found = match place {
        Place::Glob(pattern) => matches(files, pattern)?,
        Place::File(path) => {
            let object = files.look_now(path).map_err(file_error("open", path))?;
            object.map(|object| (path.clone(), object.last_modified.into())).into_iter().collect()
        }
    };
    files.forget_others(&found.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>());
    Ok(found)
}

/// The objects that a glob matches, without those that a sink has not finished, in the order of their names.
pub(super) fn matches(files: &BucketFiles, pattern: &str) -> Result<Vec<(PathBuf, SystemTime)>> {
    let glob = Pattern::new(pattern).map_err(|error| no_glob(&error))?;
    let (folder, is_deep) = asked_for(pattern);
    let listed = files.list(Path::new(&folder), is_deep).map_err(file_error("list", Path::new(&folder)))?;
    let path = |object: &ObjectMeta| files.bucket.url(&object.location);
    let is_wanted = |object: &ObjectMeta| {
        let path = path(object);
        !is_in_progress(&path) && path.to_str().is_some_and(|path| glob.matches_with(path, AS_PATHS))
    };
    let mut found: Vec<ObjectMeta> = listed.into_iter().filter(is_wanted).collect();
    found.sort_by(|one, other| one.location.cmp(&other.location));
    files.note(found.iter().cloned());
    Ok(found.iter().map(|object| (path(object), object.last_modified.into())).collect())
}

/// The folder of all that a glob can match, and whether folders below it are among that. Escaped characters stand for
/// themselves: `[*]`.
fn asked_for(pattern: &str) -> (String, bool) {
    let (mut folder, mut rest) = (String::new(), pattern);
    let mut name = String::new();
    while let Some(next) = rest.chars().next() {
        let escaped = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|(inner, _)| {
            let mut characters = inner.chars();
            matches!((characters.next(), characters.next()), (Some('*' | '?' | '['), None))
        });
        match (next, escaped) {
            (_, Some((character, behind))) => {
                name.push_str(character);
                rest = behind;
                continue;
            }
            ('*' | '?' | '[', None) => break,
            ('/', _) => {
                folder.push_str(&std::mem::take(&mut name));
                folder.push('/');
            }
            (other, None) => name.push(other),
        }
        rest = &rest[next.len_utf8()..];
    }
    (folder, rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_asked_for_by_what_it_begins_with() {
        let check = |pattern: &str, folder: &str, is_deep: bool| {
            assert_eq!(asked_for(pattern), (String::from(folder), is_deep), "{pattern}");
        };
        check("s3://b/t/*.csv", "s3://b/t/", false);
        check("s3://b/t-*/u.csv", "s3://b/", true);
        check("s3://b/t/**/*.csv", "s3://b/t/", true);
        check("s3://b/*.csv", "s3://b/", false);
        check("s3://b/a[*]b/[?]*.csv", "s3://b/a*b/", false);
        check("s3://b/t/u.csv", "s3://b/t/", false);
    }
}
