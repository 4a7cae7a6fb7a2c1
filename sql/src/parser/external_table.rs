//! CREATE EXTERNAL TABLE, as DataFusion has it: a source of files, whose columns may be those that the files have.

use arrow::datatypes::{DataType, Schema};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use tidemill_plans::partitions::{PARTITION_OPTION, partition_columns};

use super::source::ColumnList;
use super::{ParsedStatement, ScriptParser};
use crate::ast::quoted;
use crate::dialect::TidemillDialect;
use crate::error::{Result, SqlError};
use crate::statement::{CreateSource, Name, Options, SourceColumn, Statement};

/// What DataFusion calls options of formats, and what they are called here.
const RENAMED: [(&str, &str); 2] = [("has_header", "header"), ("null_regex", "null_value")];

/// What it calls options of stores, and what they are called here.
pub(super) const RENAMED_OF_STORE: [(&str, &str); 6] = [
    ("aws.access_key_id", "aws_access_key_id"),
    ("aws.secret_access_key", "aws_secret_access_key"),
    ("aws.session_token", "aws_session_token"),
    ("aws.region", "aws_region"),
    ("aws.endpoint", "aws_endpoint"),
    ("aws.allow_http", "aws_allow_http"),
];

impl ScriptParser<'_> {
    /// Behind CREATE EXTERNAL TABLE.
    pub(super) fn create_external_table(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let listed = self.inner.peek_token_ref().token == Token::LParen;
        let ColumnList { mut columns, key, watermark } =
            if listed { self.column_list()? } else { ColumnList::default() };
        let mut options = Options { at: self.inner.peek_token_ref().span.into(), ..Options::default() };
        add(&mut options, "connector", String::from("files"), &name);
        let (mut format, mut location) = (None, None);
        loop {
            let at = self.inner.peek_token_ref().span;
            if self.word("STORED") {
                self.keywords(&[Keyword::AS])?;
                format = Some(self.name()?.text.to_lowercase());
            } else if self.word("LOCATION") {
                location = Some(self.text("a file, a folder or a glob")?);
            } else if self.word("OPTIONS") {
                self.format_options(&mut options, &[RENAMED.as_slice(), &RENAMED_OF_STORE].concat())?;
            } else if self.word("PARTITIONED") {
                self.keywords(&[Keyword::BY])?;
                let names = self.partitions(listed.then_some(&mut columns))?;
                let at = Name { text: String::from(PARTITION_OPTION), at: at.into() };
                add(&mut options, PARTITION_OPTION, names.join(", "), &at);
            } else {
                break;
            }
        }
        let (Some(format), Some(path)) = (format, location) else {
            return Err(self.expected("STORED AS PARQUET | CSV | JSON | AVRO | ARROW and LOCATION 'path'"));
        };
        let format = if format == "ndjson" { String::from("json") } else { format };
        add(&mut options, "format", format, &name);
        add(&mut options, "path", path, &name);
        let create = CreateSource { name, if_not_exists, listed, is_external: true, columns, key, watermark, options };
        Ok(Statement::CreateSource(Box::new(create)))
    }

    /// `(k, j)`; with types, as Hive has them, they are columns that are not in the list.
    pub(super) fn partitions(&mut self, mut columns: Option<&mut Vec<SourceColumn>>) -> Result<Vec<String>> {
        self.token(&Token::LParen)?;
        let mut names = Vec::new();
        loop {
            let name = self.name()?;
            names.push(name.text.clone());
            if !matches!(self.inner.peek_token_ref().token, Token::Comma | Token::RParen) {
                let data_type = Some(self.with(Parser::parse_data_type)?);
                let Some(columns) = &mut columns else {
                    let hint = "list the columns of the files, too, or leave the type out";
                    return Err(SqlError::unsupported("the type of a partition column here", hint).at(name.at));
                };
                columns.push(SourceColumn { name, data_type, not_null: false, generated: None });
            }
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)?;
        Ok(names)
    }

    /// `('format.has_header' 'true', delimiter ';')`.
    pub(super) fn format_options(&mut self, options: &mut Options, renamed: &[(&str, &str)]) -> Result<()> {
        self.token(&Token::LParen)?;
        while self.inner.peek_token_ref().token != Token::RParen {
            let key = self.dotted_name()?;
            let _ = self.inner.consume_token(&Token::Eq);
            let value = self.option_value()?;
            let plain = key.text.strip_prefix("format.").unwrap_or(&key.text).to_owned();
            let renamed = renamed.iter().find(|(theirs, _)| *theirs == plain).map(|(_, ours)| (*ours).to_owned());
            let known = renamed.unwrap_or(plain);
            add(options, &known, value, &key);
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)
    }
}

fn add(options: &mut Options, key: &str, value: String, at: &Name) {
    options.places.push((key.to_owned(), at.at));
    options.pairs.push((key.to_owned(), value));
}

impl ParsedStatement {
    /// The options of the files whose columns the statement leaves to whoever can read them.
    #[must_use]
    pub fn wants_columns_of(&self) -> Option<&[(String, String)]> {
        match &self.statement {
            Statement::CreateSource(create) if create.is_external && create.columns.is_empty() => {
                Some(&create.options.pairs)
            }
            _ => None,
        }
    }

    /// The same statement with these columns, as if they had been declared: it means the same when the files have changed.
    pub fn with_columns(&self, schema: &Schema) -> Result<Self> {
        let Statement::CreateSource(create) = &self.statement else { return Ok(self.clone()) };
        let (create, text) = with_columns(create, schema, "the files")?;
        Ok(Self { text, statement: Statement::CreateSource(Box::new(create)), ..self.clone() })
    }
}

/// A source with these columns of files or a query, as if they had been declared, and its statement.
pub(crate) fn with_columns(create: &CreateSource, schema: &Schema, of: &str) -> Result<(CreateSource, String)> {
    let column = |field: &arrow::datatypes::FieldRef| {
        let data_type = declared(field.data_type()).ok_or_else(|| {
            let message = format!(
                "the column '{}' of {of} is {}, which has no name here; declare the columns, (name TYPE, …), \
                 without it, or CAST it",
                field.name(),
                field.data_type()
            );
            SqlError::invalid(message).at(create.name.at)
        })?;
        Ok((field.name().clone(), data_type))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let source = |(name, data_type): &(String, String)| {
        let parsed = Parser::new(&TidemillDialect::default())
            .try_with_sql(data_type)
            .and_then(|mut parser| parser.parse_data_type())
            .map_err(|error| SqlError::invalid(error.to_string()).at(create.name.at))?;
        let name = Name { text: name.clone(), at: create.name.at };
        Ok(SourceColumn { name, data_type: Some(parsed), not_null: false, generated: None })
    };
    let mut options = create.options.clone();
    let is_said = |field: &&arrow::datatypes::FieldRef| field.metadata().contains_key(PARTITION_OPTION);
    let said: Vec<&str> = schema.fields().iter().filter(is_said).map(|field| field.name().as_str()).collect();
    if !said.is_empty() && partition_columns(&options.pairs).is_empty() {
        add(&mut options, PARTITION_OPTION, said.join(", "), &create.name);
    }
    let create = CreateSource {
        options,
        columns: columns.iter().map(source).collect::<Result<_>>()?,
        listed: true,
        ..create.clone()
    };
    let text = written(&create, &columns);
    Ok((create, text))
}

/// The statement of a table with these columns.
fn written(create: &CreateSource, columns: &[(String, String)]) -> String {
    let columns = columns.iter().map(|(name, data_type)| format!("{} {data_type}", quoted(name)));
    let options = create.options.pairs.iter().map(|(key, value)| format!("{key} = '{}'", value.replace('\'', "''")));
    let (columns, options) = (columns.collect::<Vec<_>>().join(", "), options.collect::<Vec<_>>().join(", "));
    let exists = if create.if_not_exists { "IF NOT EXISTS " } else { "" };
    format!("CREATE TABLE {exists}{} ({columns}) WITH ({options})", quoted(&create.name.text))
}

/// A type of files as SQL writes that which it is read as.
pub(crate) fn declared(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => String::from("BOOLEAN"),
        DataType::Int8 => String::from("TINYINT"),
        DataType::Int16 => String::from("SMALLINT"),
        DataType::Int32 => String::from("INT"),
        DataType::Int64 => String::from("BIGINT"),
        DataType::UInt8 => String::from("TINYINT UNSIGNED"),
        DataType::UInt16 => String::from("SMALLINT UNSIGNED"),
        DataType::UInt32 => String::from("INT UNSIGNED"),
        DataType::UInt64 => String::from("BIGINT UNSIGNED"),
        DataType::Float32 => String::from("REAL"),
        DataType::Float64 => String::from("DOUBLE"),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        // A column of nothing but NULLs could be anything.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => String::from("VARCHAR"),
        DataType::Date32 | DataType::Date64 => String::from("DATE"),
        DataType::Timestamp(_, None) => String::from("TIMESTAMP"),
        DataType::Dictionary(_, values) => declared(values)?,
        DataType::List(item) | DataType::LargeList(item) => format!("{}[]", declared(item.data_type())?),
        DataType::Struct(fields) => {
            let field = |field: &arrow::datatypes::FieldRef| {
                Some(format!("{} {}", quoted(field.name()), declared(field.data_type())?))
            };
            format!("STRUCT<{}>", fields.iter().map(field).collect::<Option<Vec<_>>>()?.join(", "))
        }
        _ => return None,
    })
}
