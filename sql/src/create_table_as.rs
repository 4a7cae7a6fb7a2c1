//! CREATE TABLE AS: a folder of files with a query's rows, which is a table once it is complete.
//!
//! The table is recorded as a source with the columns of the query: a restart does not run that again.

use std::sync::Arc;

use tidemill_plans::batch::{CopyLayout, CopyTarget, Destination};
use tidemill_plans::bucket::store_options;
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::connector::option;
use tidemill_plans::partitions::partition_columns;
use tidemill_plans::settings::Execution;

use crate::access::{Privilege, Securable};
use crate::batch::{BatchPlan, Becomes};
use crate::catalog::{Detail, Object};
use crate::error::{Position, Result, SqlError};
use crate::insert::{format_options, written_format};
use crate::job::{JobKind, JobStatement};
use crate::parser::external_table::with_columns;
use crate::planner::expression::Expressions;
use crate::planner::source::plan_source;
use crate::session::{Effect, Session, object};
use crate::statement::{CreateSource, CreateTableAs, Name};

/// What is said of a table where its statement does not.
const DEFAULTS: [(&str, &str); 2] = [("connector", "files"), ("format", "parquet")];

impl Session {
    /// What CREATE TABLE AS does.
    pub(crate) fn create_table_as(&self, create: &CreateTableAs) -> Result<Effect> {
        let replaces = create.or_replace.then_some(ObjectKind::Source);
        if let Some(effect) = self.exists(&create.name, create.if_not_exists, replaces)? {
            return Ok(effect);
        }
        self.require(Privilege::Create, Securable::Schema)?;
        let plan = self.table_rows(create)?;
        self.require_uses(&plan.uses)?;
        let (object, plan, target) = self.planned_table(create, plan)?;
        let table = Becomes::Table { object: Arc::clone(&object), replaces: create.or_replace };
        let plan = plan.going_to(Destination::Files(target), table);
        let job = Some(JobKind::Batch(create.query.clone(), Box::new(plan)));
        Ok(Effect::Create { object, replace: create.or_replace, job })
    }

    /// The table that a plan's rows are going to be, the plan of the rows as it has them, and where they are written.
    pub(crate) fn planned_table(
        &self,
        create: &CreateTableAs,
        plan: BatchPlan,
    ) -> Result<(Arc<Object>, BatchPlan, CopyTarget)> {
        let (source, text) = with_columns(&source_of(create), plan.columns(), "the query")?;
        let (node, info) = plan_source(&source, &self.settings, &mut Expressions::new(&self.catalog))?;
        if !create.is_placed {
            self.require_options(&node.connector, &node.options).map_err(|error| error.at(create.options.at))?;
            self.require_place()?;
        }
        let mut target = target(&node.options).map_err(|error| error.at(create.options.at))?;
        if create.or_replace && self.place_of(&create.name.text).as_ref() == Some(&target.path) {
            target.layout = CopyLayout::Replacement;
        }
        // What folders say comes last in a table.
        let names: Vec<String> = plan.columns().fields().iter().map(|field| field.name().clone()).collect();
        let plan = plan.with_named(&info.schema, &names, &format!("table '{}'", create.name.text))?;
        let detail = Detail::Source(Box::new(node), info);
        let object = object(&create.name, ObjectKind::Source, &text, Vec::new(), detail);
        Ok((object, plan, target))
    }

    /// Its query, which has to end.
    fn table_rows(&self, create: &CreateTableAs) -> Result<BatchPlan> {
        let refused = |what: &str, hint: &str| Err(SqlError::unsupported(what, hint).at(create.name.at));
        if !self.runs_batches {
            let hint = "tidemill run, shell and serve have it";
            return refused("CREATE TABLE AS where nothing runs queries as a whole", hint);
        }
        if self.settings.execution == Execution::Streaming {
            let hint = "SET execution = 'inferred'; CREATE MATERIALIZED VIEW keeps the rows of a stream";
            return refused("CREATE TABLE AS with execution = 'streaming'", hint);
        }
        let planned = self.whole(&create.query, &self.settings);
        planned.map_err(|error| match error {
            SqlError::Unsupported { at, what, hint } => SqlError::Unsupported {
                at,
                what: format!("{what} in CREATE TABLE AS"),
                hint: format!("{hint}; CREATE MATERIALIZED VIEW keeps the rows of a stream"),
            },
            other => other,
        })
    }

    /// Adds the table whose rows a statement has written.
    pub fn add_table(&mut self, statement: &JobStatement) -> Result<()> {
        let Some((object, replaces)) = table_of(statement) else { return Ok(()) };
        if replaces && self.catalog.find(&object.name).is_some() {
            self.catalog.remove(&Name { text: object.name.clone(), at: statement.position })?;
        }
        self.catalog.add(Arc::clone(object), statement.position)
    }

    /// Where the files of a table are, if it is one of files, or those of a model's training set.
    #[must_use]
    pub fn place_of(&self, name: &str) -> Option<String> {
        let object = self.catalog.whole().get(&Name { text: name.to_owned(), at: Position::UNKNOWN }).ok().cloned()?;
        place(&object)
    }
}

impl JobStatement {
    /// Where the table is going to be that it makes, or the training set.
    #[must_use]
    pub fn new_place(&self) -> Option<String> {
        match &self.kind {
            JobKind::Train(model, _) => place(model),
            _ => place(table_of(self)?.0),
        }
    }
}

fn table_of(statement: &JobStatement) -> Option<(&Arc<Object>, bool)> {
    match &statement.kind {
        JobKind::Batch(_, plan) => match &plan.becomes {
            Some(Becomes::Table { object, replaces }) => Some((object, *replaces)),
            _ => None,
        },
        _ => None,
    }
}

pub(crate) fn place(object: &Object) -> Option<String> {
    match &object.detail {
        Detail::Source(source, _) => option(&source.options, "path").map(str::to_owned),
        Detail::Model(model) => model.training_set.as_deref().and_then(place),
        _ => None,
    }
}

/// The source that the table is going to be, without its columns.
fn source_of(create: &CreateTableAs) -> CreateSource {
    let mut options = create.options.clone();
    for (key, value) in DEFAULTS {
        if option(&options.pairs, key).is_none() {
            options.pairs.insert(0, (key.to_owned(), value.to_owned()));
        }
    }
    CreateSource {
        name: create.name.clone(),
        if_not_exists: false,
        listed: true,
        is_external: false,
        columns: Vec::new(),
        key: None,
        watermark: None,
        options,
    }
}

/// The folder of a table with these options.
fn target(options: &[(String, String)]) -> Result<CopyTarget> {
    let (path, named) = (option(options, "path").unwrap_or_default(), option(options, "format").unwrap_or_default());
    let Some(format) = written_format(named) else {
        let what = format!("a table with a query as '{named}'");
        return Err(SqlError::unsupported(
            what,
            "use WITH (path = 'folder', format = 'parquet'), or csv, json or arrow",
        ));
    };
    if let Some((other, _)) =
        options.iter().find(|(key, _)| ["watch", "lookup", "rows_per_second"].contains(&key.as_str()))
    {
        let hint = "leave it out: create a source of the folder with it, once the table is there";
        return Err(SqlError::unsupported(format!("the option '{other}' of a table with a query"), hint));
    }
    if path.is_empty() || path.contains(['*', '?', '[']) {
        let message = format!("'{path}' names no folder that the rows of a table could be written to");
        return Err(SqlError::invalid(message));
    }
    let (path, layout) = (path.to_owned(), CopyLayout::Folder);
    let (partition_by, store) = (partition_columns(options), store_options(options));
    Ok(CopyTarget { path, format, layout, options: format_options(options), partition_by, store })
}
