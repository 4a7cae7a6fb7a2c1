//! COPY: the rows of a query or a table, to a file, or to files in a folder.

use std::path::Path;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use tidemill_plans::batch::{CopyFormat, CopyLayout, CopyTarget};
use tidemill_plans::bucket::{is_store_option, store_options};
use tidemill_plans::connector::{self, Direction};

use super::ScriptParser;
use super::external_table::RENAMED_OF_STORE as RENAMED;
use crate::ast::select_all;
use crate::error::{Result, SqlError};
use crate::statement::{Copy, Options, Statement, StreamQuery};

/// Options of COPY, as DataFusion names them, by what they are options of.
const CSV_OPTIONS: &[&str] = &[
    "compression",
    "date_format",
    "datetime_format",
    "delimiter",
    "double_quote",
    "escape",
    "has_header",
    "null_value",
    "quote",
    "time_format",
    "timestamp_format",
];
const JSON_OPTIONS: &[&str] = &["compression"];
const PARQUET_OPTIONS: &[&str] = &[
    "bloom_filter_on_write",
    "column_index_truncate_length",
    "compression",
    "data_page_row_count_limit",
    "data_pagesize_limit",
    "dictionary_enabled",
    "max_row_group_size",
    "statistics_enabled",
    "write_batch_size",
    "writer_version",
];

impl ScriptParser<'_> {
    /// `COPY t | (query) TO 'path' [STORED AS format] [PARTITIONED BY (k, …)] [OPTIONS (…)]`.
    pub(super) fn copy(&mut self) -> Result<Statement> {
        let at = self.inner.next_token().span.into();
        let query = match self.inner.peek_token_ref().token {
            Token::LParen => {
                self.token(&Token::LParen)?;
                let query = self.query()?;
                self.token(&Token::RParen)?;
                query
            }
            _ => StreamQuery::plain(select_all(&self.name()?.text)?),
        };
        self.keywords(&[Keyword::TO])?;
        let path_at = self.inner.peek_token_ref().span;
        let path = self.text("a file, or a folder with / at its end")?;
        let end = Path::new(&path).extension().and_then(|end| end.to_str());
        let mut named = end.unwrap_or_default().to_owned();
        let (mut partition_by, mut options) = (Vec::new(), Options::default());
        loop {
            if self.word("STORED") {
                self.keywords(&[Keyword::AS])?;
                named = self.name()?.text;
            } else if self.word("PARTITIONED") {
                self.keywords(&[Keyword::BY])?;
                partition_by = self.partitions(None)?;
            } else if self.word("OPTIONS") {
                self.format_options(&mut options, &RENAMED)?;
            } else {
                break;
            }
        }
        let Some(format) = CopyFormat::named(&named) else {
            let hint = "parquet, csv, json or arrow: by the end of the file's name, or STORED AS";
            return Err(SqlError::unsupported(format!("a file of the format '{named}'"), hint).at(path_at));
        };
        let store = store_options(&options.pairs);
        check_store(&path, &store).map_err(|error| error.at(path_at))?;
        options.pairs.retain(|(key, _)| !is_store_option(key));
        check_options(format, &options)?;
        let is_folder = path.ends_with('/') || !partition_by.is_empty();
        let layout = if is_folder { CopyLayout::Folder } else { CopyLayout::File };
        let target = CopyTarget { path, format, layout, options: options.pairs, partition_by, store };
        Ok(Statement::Copy(Copy { query, target, at }))
    }
}

/// Options of the store are those that a sink of files has.
fn check_store(path: &str, store: &[(String, String)]) -> Result<()> {
    let needed = [("path", path), ("format", "parquet")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let options: Vec<_> = needed.into_iter().chain(store.iter().cloned()).collect();
    Ok(connector::check_options("files", Direction::Sink, &options)?)
}

fn check_options(format: CopyFormat, options: &Options) -> Result<()> {
    let known = match format {
        CopyFormat::Csv => CSV_OPTIONS,
        CopyFormat::Json => JSON_OPTIONS,
        CopyFormat::Parquet => PARQUET_OPTIONS,
        CopyFormat::Arrow => &[],
    };
    match options.pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some((unknown, _)) => {
            let hint = if known.is_empty() {
                String::from("leave it out")
            } else {
                format!("there are: {}", known.join(", "))
            };
            let what = format!("the option '{unknown}' of a file as {}", format.extension());
            Err(SqlError::unsupported(what, hint).at(options.place(unknown)))
        }
    }
}
