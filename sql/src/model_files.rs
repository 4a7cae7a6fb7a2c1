//! Models that come from files, and go to files: CREATE MODEL … FROM FILE, whose columns and bytes are found by whoever can
//! read the file, and EXPORT MODEL.
//!
//! What is kept of such a statement has the columns in it, so that it means the same when the file is gone. The weights are
//! kept with those of other served models.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::sql::sqlparser::ast::{Expr, Value};
use datafusion::sql::sqlparser::parser::Parser;
use tidemill_plans::algorithm::{Training, label_outputs, resolve_model_type};
use tidemill_plans::catalog::{ModelWeights, ObjectKind, UNTIMED};
use tidemill_plans::model_reference::ModelReference;
use tidemill_plans::node::ModelFreshness;

use crate::access::{Privilege, Securable};
use crate::ast::quoted;
use crate::catalog::{Detail, ModelObject};
use crate::dialect::TidemillDialect;
use crate::error::{Result, SqlError};
use crate::parser::ParsedStatement;
use crate::parser::external_table::declared;
use crate::planner::expression::plan_type;
use crate::session::{Effect, Outcome, Session, object};
use crate::statement::{ExportModel, ImportModel, Options, Statement};

const MODEL_TYPE: &str = "model_type";
const LABEL: &str = "label";
const LABEL_TYPE: &str = "label_type";
const CLASSES: &str = "classes";

/// A file that a statement makes a model of.
#[derive(Debug, Clone, Copy)]
pub struct WantedFile<'a> {
    /// Where it is.
    pub path: &'a str,
    /// What is said of it.
    pub options: &'a [(String, String)],
}

/// A model that was found in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundModel {
    /// Its algorithm.
    pub model_type: String,
    /// The label's name and type, if it has learnt one.
    pub label: Option<(String, DataType)>,
    /// The columns that it reads.
    pub columns: Vec<(String, DataType)>,
    /// Its bytes.
    pub state: Vec<u8>,
}

/// EXPORT MODEL, for whoever has the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCommand {
    /// The model, and which of its versions.
    pub model: String,
    /// Where it is to go.
    pub path: String,
    /// In which format; ours if it is not said.
    pub format: Option<String>,
}

impl ParsedStatement {
    /// The file that the statement leaves to whoever can read it.
    #[must_use]
    pub fn wants_model(&self) -> Option<WantedFile<'_>> {
        match &self.statement {
            Statement::ImportModel(import) if import.columns.is_none() => {
                Some(WantedFile { path: &import.path, options: &import.options.pairs })
            }
            _ => None,
        }
    }

    /// The same statement with the model of its file, which from here on is part of it.
    ///
    /// # Errors
    /// If a column has a type that has no name in SQL.
    pub fn with_model(&self, found: FoundModel) -> Result<Self> {
        let Statement::ImportModel(import) = &self.statement else { return Ok(self.clone()) };
        let text = written(import, &found)?;
        let mut statements = crate::parse_script(&text)?;
        let mut parsed = statements.pop().ok_or_else(|| SqlError::invalid("there is no statement"))?;
        if let Statement::ImportModel(import) = &mut parsed.statement {
            import.state = Some(Arc::new(found.state));
        }
        Ok(parsed.at_position_of(self))
    }

    /// The version that the statement brings along, if it makes a model of a file.
    #[must_use]
    pub fn imported(&self) -> Option<ModelWeights> {
        let Statement::ImportModel(import) = &self.statement else { return None };
        let ImportModel { name, options, state, .. } = import.as_ref();
        let label = options.get(LABEL).unwrap_or_default().to_owned();
        let (model, state) = (name.text.clone(), state.as_ref()?.as_ref().clone());
        Some(ModelWeights { model, version: 1, learnt_to: UNTIMED, label, state })
    }
}

/// The statement with what its file says.
fn written(import: &ImportModel, found: &FoundModel) -> Result<String> {
    let no_name = |name: &str, data_type: &DataType| {
        SqlError::invalid(format!("the column '{name}' of the model is {data_type}, which has no name here"))
            .at(import.name.at)
    };
    let column = |(name, data_type): &(String, DataType)| {
        let declared = declared(data_type).ok_or_else(|| no_name(name, data_type))?;
        Ok(format!("{} {declared}", quoted(name)))
    };
    let columns = found.columns.iter().map(column).collect::<Result<Vec<_>>>()?.join(", ");
    let mut options = vec![(MODEL_TYPE, found.model_type.clone())];
    if let Some((label, data_type)) = &found.label {
        let declared = declared(data_type).ok_or_else(|| no_name(label, data_type))?;
        options.extend([(LABEL, label.clone()), (LABEL_TYPE, declared)]);
    }
    // Part of the bytes already; but who reads the statement wants to know what the library's classes are called here.
    options.extend(import.options.get(CLASSES).map(|classes| (CLASSES, classes.to_owned())));
    let options = options.iter().map(|(key, value)| format!("{key} = '{}'", value.replace('\'', "''")));
    let options = options.collect::<Vec<_>>().join(", ");
    let exists = if import.if_not_exists { "IF NOT EXISTS " } else { "" };
    let (name, path) = (quoted(&import.name.text), import.path.replace('\'', "''"));
    Ok(format!("CREATE MODEL {exists}{name} ({columns}) FROM FILE '{path}' WITH ({options})"))
}

impl Session {
    /// What CREATE MODEL FROM FILE does, once its file has been read.
    pub(crate) fn model_of_file(&self, import: &ImportModel, text: &str) -> Result<Effect> {
        if let Some(effect) = self.exists(&import.name, import.if_not_exists, None)? {
            return Ok(effect);
        }
        self.require(Privilege::Create, Securable::Schema)?;
        let Some(columns) = &import.columns else {
            let hint = "tidemill serve and shell keep models of files";
            return Err(SqlError::unsupported("CREATE MODEL FROM FILE here", hint));
        };
        let feature = |(name, data_type): &(String, _)| Ok((name.clone(), plan_type(Clone::clone(data_type))?));
        let model = ModelObject {
            query: None,
            model_type: model_type(&import.options)?,
            version: 1,
            label: import.options.get(LABEL).map(str::to_owned),
            outputs: outputs(&import.options)?,
            time: None,
            training_set: None,
            features: columns.iter().map(feature).collect::<Result<_>>()?,
            learning: Vec::new(),
            transform: None,
            options: Vec::new(),
            publish_every: 0,
            freshness: ModelFreshness::Latest,
            workers: 1,
        };
        let object = object(&import.name, ObjectKind::Model, text, Vec::new(), Detail::Model(Box::new(model)));
        Ok(Effect::Create { object, replace: false, job: None })
    }

    /// EXPORT MODEL: its owner may take it away, if they may write files here.
    pub(crate) fn export_model(&self, export: &ExportModel) -> Result<Outcome> {
        let reference = ModelReference::parse(&export.name.text).map_err(SqlError::invalid)?;
        self.catalog.model(reference.model)?;
        self.require_owner(reference.model)?;
        self.check_files()?;
        let mut options = export.options.clone();
        let format = options.take("format");
        if let Some((key, _)) = options.pairs.first() {
            let message = format!("unknown option '{key}'; valid is: format");
            return Err(SqlError::invalid(message).at(options.place(key)));
        }
        Ok(Outcome::Export(ExportCommand { model: export.name.text.clone(), path: export.path.clone(), format }))
    }
}

fn model_type(options: &Options) -> Result<String> {
    let given = options.get(MODEL_TYPE).unwrap_or_default();
    Ok(resolve_model_type(given, Training::Whole).map_err(|error| options.locate(error))?.to_owned())
}

/// What it says of a label; of a model without one its answers do.
fn outputs(options: &Options) -> Result<Vec<Field>> {
    let Some(label) = options.get(LABEL) else { return Ok(Vec::new()) };
    let data_type = match options.get(LABEL_TYPE).unwrap_or_default() {
        "BOOLEAN" => DataType::Boolean,
        "BIGINT" => DataType::Int64,
        "VARCHAR" => DataType::Utf8,
        "DOUBLE" => DataType::Float64,
        other => {
            let message = format!("option {LABEL_TYPE} = '{other}': a label is a BOOLEAN, BIGINT, VARCHAR or DOUBLE");
            return Err(SqlError::invalid(message).at(options.place(LABEL_TYPE)));
        }
    };
    Ok(label_outputs(label, &data_type))
}

/// The texts of an option's list, or the only one.
#[must_use]
pub fn texts_of(value: &str) -> Option<Vec<String>> {
    if !value.starts_with('[') {
        return Some(vec![value.to_owned()]);
    }
    let parsed =
        Parser::new(&TidemillDialect::default()).try_with_sql(value).and_then(|mut parser| parser.parse_expr());
    let Ok(Expr::Array(array)) = parsed else { return None };
    let text = |item: &Expr| match item {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    array.elem.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_were_written() {
        let texts = |value: &str| texts_of(value).map(|texts| texts.join("|"));
        assert_eq!(texts("['it''s', 'b', 3]").as_deref(), Some("it's|b|3"));
        assert_eq!(texts("plain").as_deref(), Some("plain"));
        assert_eq!(texts("[]").as_deref(), Some(""));
        assert_eq!((texts("['a'"), texts("[a + 1]")), (None, None));
    }
}
