//! Models in files: those that EXPORT MODEL writes, and what CREATE MODEL FROM FILE reads, which may be other libraries'.
//!
//! A file of ours begins with a line that says what it is and the version of the format; then come the version of the model
//! as trainers publish it, encoded, and a checksum of that.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use arrow::datatypes::DataType;
use tidemill_ml::export::lightgbm_text;
use tidemill_ml::import::{ImportFormat, Imported, ImportedClasses, import};
use tidemill_ml::onnx_file;
use tidemill_plans::catalog::{ModelWeights, SERVED_BYTES_MAX, UNTIMED};
use tidemill_plans::checksum::{checked, with_checksum};
use tidemill_plans::codec;
use tidemill_plans::error::chain;
use tidemill_plans::prediction::TrainedModel;
use tidemill_plans::transform::FittedModel;
use tidemill_sql::{FoundModel, WantedFile, texts_of};

use crate::serving::ServedModel;

/// What a file of ours begins with.
const MAGIC: &[u8] = b"TIDEMILL MODEL 1\n";

/// The largest file that is read: a text has many times the bytes of the model that it becomes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The name of our own format.
const OWN: &str = "tidemill";

/// Those of others that are written.
const LIGHTGBM: &str = "lightgbm_text";
const ONNX: &str = "onnx";

/// Writes a version of a model. A file that is there is replaced once the new one is whole.
///
/// # Errors
/// What to tell whoever wanted it.
pub(crate) fn write(path: &str, format: Option<&str>, served: &ServedModel) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot write the model to '{path}': {error}");
    let weights = served.weights();
    if weights.state.is_empty() {
        return Err(failed(&format!("it has more than {SERVED_BYTES_MAX} bytes")));
    }
    let content = match format {
        None | Some(OWN) => sealed(weights).map_err(|reason| failed(&reason))?,
        Some(LIGHTGBM) => lightgbm(&weights.state).map_err(|reason| failed(&reason))?.into_bytes(),
        Some(ONNX) => onnx(weights).map_err(|reason| failed(&reason))?,
        Some(other) => return Err(failed(&format!("format = '{other}'; valid are: {OWN}, {LIGHTGBM}, {ONNX}"))),
    };
    let part = format!("{path}.part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(&content)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&part, path)).map_err(|error| {
        // What is there of it is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&part);
        failed(&error)
    })
}

/// A file of ours.
fn sealed(weights: &ModelWeights) -> Result<Vec<u8>, String> {
    let content = codec::encode(weights).map_err(|error| chain(&error))?;
    Ok([MAGIC, &with_checksum(content)].concat())
}

/// What LightGBM reads, of a model whose features are columns of rows.
fn lightgbm(state: &[u8]) -> Result<String, String> {
    check_columns(state, "LightGBM's")?;
    lightgbm_text(state).map_err(|error| chain(&error))
}

/// What runs ONNX, of a model whose features are columns of rows.
fn onnx(weights: &ModelWeights) -> Result<Vec<u8>, String> {
    check_columns(&weights.state, "these ONNX")?;
    onnx_file(&weights.state, &weights.label).map_err(|error| chain(&error))
}

/// Checks that nothing is made of columns before a model reads them.
fn check_columns(state: &[u8], whose: &str) -> Result<(), String> {
    match FittedModel::restore(state).map_err(|error| chain(&error))?.transform() {
        Some(_) => Err(format!("its TRANSFORM is no part of {whose} models")),
        None => Ok(()),
    }
}

/// Reads a model.
///
/// # Errors
/// What to tell whoever wanted it.
pub(crate) fn read(wanted: &WantedFile<'_>) -> Result<FoundModel, String> {
    let options = FileOptions::of(wanted.options)?;
    let bytes = bytes_of(Path::new(wanted.path))
        .map_err(|error| format!("cannot read the model '{}': {error}", wanted.path))?;
    let found = match bytes.strip_prefix(MAGIC) {
        Some(content) => own(content, &options),
        None => foreign(&bytes, &options),
    };
    let found = found.map_err(|reason| format!("'{}': {reason}", wanted.path))?;
    match found.state.len() > SERVED_BYTES_MAX {
        true => Err(format!("'{}': the model has more than {SERVED_BYTES_MAX} bytes", wanted.path)),
        false => Ok(found),
    }
}

fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// What is said of a file.
#[derive(Debug, Default, PartialEq)]
struct FileOptions {
    format: Option<String>,
    label: Option<String>,
    label_type: Option<String>,
    classes: Option<Vec<String>>,
}

impl FileOptions {
    fn of(options: &[(String, String)]) -> Result<Self, String> {
        let mut read = Self::default();
        for (key, value) in options {
            match key.as_str() {
                "format" => read.format = Some(value.clone()),
                "label" => read.label = Some(value.clone()),
                "label_type" => read.label_type = Some(value.clone()),
                "classes" => {
                    let expected = || format!("classes = {value}: write ['a', 'b', …], the library's class 0 first");
                    read.classes = Some(texts_of(value).ok_or_else(expected)?);
                }
                _ => return Err(format!("unknown option '{key}'; valid are: format, label, label_type, classes")),
            }
        }
        Ok(read)
    }

    /// The classes of a label; none where they are numbers from 0.
    fn imported_classes(&self) -> Result<Option<ImportedClasses>, String> {
        let is_boolean = match self.label_type.as_deref() {
            None => false,
            Some(name) if name.eq_ignore_ascii_case("BOOLEAN") => true,
            Some(other) => {
                return Err(format!("label_type is BOOLEAN, or left out, not '{other}'; classes names texts"));
            }
        };
        match (&self.classes, is_boolean) {
            (Some(_), true) => {
                Err(String::from("the classes of a BOOLEAN label are false and true: leave out classes"))
            }
            (None, true) => {
                let names = ["false", "true"].map(str::to_owned).to_vec();
                Ok(Some(ImportedClasses { data_type: DataType::Boolean, names }))
            }
            (Some(names), false) => Ok(Some(ImportedClasses { data_type: DataType::Utf8, names: names.clone() })),
            (None, false) => Ok(None),
        }
    }
}

/// A model that was exported.
fn own(content: &[u8], options: &FileOptions) -> Result<FoundModel, String> {
    if *options != (FileOptions { format: options.format.clone(), ..FileOptions::default() }) {
        return Err(String::from("a model of ours says itself what its label is: leave out the options"));
    }
    if options.format.as_deref().is_some_and(|format| format != OWN) {
        return Err(format!("its format is {OWN}"));
    }
    let content = checked(content).ok_or("its checksum is wrong: it is damaged")?;
    found(codec::decode(content).map_err(|error| chain(&error))?)
}

/// A model of another library.
fn foreign(bytes: &[u8], options: &FileOptions) -> Result<FoundModel, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| format!("it is neither a model of ours nor a text; formats are: {}", formats()))?;
    let format = match &options.format {
        Some(name) => ImportFormat::named(name),
        None => ImportFormat::of(text),
    };
    let format = format.ok_or_else(|| format!("its format is not known; format is one of: {}", formats()))?;
    let label =
        options.label.clone().ok_or("the option label is missing: WITH (label = 'late') says what it predicts")?;
    let Imported { model, .. } =
        import(text, format, options.imported_classes()?.as_ref()).map_err(|error| chain(&error))?;
    found(ModelWeights { model: String::new(), version: 1, learnt_to: UNTIMED, label, state: model })
}

fn formats() -> String {
    [OWN].into_iter().chain(ImportFormat::ALL.map(ImportFormat::name)).collect::<Vec<_>>().join(", ")
}

fn found(weights: ModelWeights) -> Result<FoundModel, String> {
    let (label, state) = (weights.label.clone(), weights.state.clone());
    let trained = TrainedModel::restore(weights).map_err(|error| chain(&error))?;
    let label = match (label.is_empty(), trained.added().first()) {
        (false, Some(predicted)) => Some((label, predicted.data_type().clone())),
        _ => None,
    };
    let inputs = trained.inputs();
    let columns = inputs.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect();
    Ok(FoundModel { model_type: trained.model_type().to_owned(), label, columns, state })
}
