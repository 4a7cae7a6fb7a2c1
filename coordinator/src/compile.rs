//! From a script to the graph of its job, and to what each statement prints.
//!
//! Statements are executed one after another; those that have to run are put into one graph, which
//! shares sources, views and models.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_batch::BatchEngine;
use tidemill_plans::catalog::ModelVersion;
use tidemill_plans::error::chain;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::settings::Settings;
use tidemill_sql::{
    Added, JobBuilder, JobStatement, Outcome, ParsedStatement, Position, ResultColumns, Session, SqlError, parse_script,
};

use crate::access::Access;
use crate::model_files;
use crate::tables::TableFolders;

/// What a script comes to.
#[derive(Debug)]
pub struct Compiled {
    /// The job of all its statements; `None` if nothing has to run.
    pub graph: Option<DataflowGraph>,
    /// The settings of the job.
    pub settings: Settings,
    /// What is printed, in the order of the statements.
    pub outputs: Vec<Output>,
    /// What the user should know before the job runs, and where the statement stands.
    pub warnings: Vec<(Position, String)>,
}

/// What a statement prints.
#[derive(Debug)]
pub enum Output {
    /// Rows that are known already.
    Rows(RecordBatch),
    /// The rows of a job's result.
    Result(ResultColumns),
    /// The rows of a query that runs as a whole, apart from the job.
    Batch(Box<JobStatement>),
    /// What the operators of a statement did, once its job has ended.
    Analysis {
        /// The sinks that the statement writes to.
        sinks: Vec<OperatorId>,
        /// The rows of a SELECT, which nobody wants.
        result: Option<ResultColumns>,
    },
}

/// An [`Output`] of a statement whose sinks have no operators yet.
enum Pending {
    Result(ResultColumns),
    Analysis(Added),
}

/// Compiles a script. `settings` are those before its first statement, `models` what the registry
/// knows; `batch` runs queries as a whole, and knows what columns files have.
///
/// # Errors
/// What is wrong with the first statement that is, and where it stands.
pub fn compile(
    script: &str,
    settings: Settings,
    models: Vec<ModelVersion>,
    batch: Option<&dyn BatchEngine>,
) -> Result<Compiled, SqlError> {
    let tables = TableFolders::scratch(None);
    compile_whole(script, settings, models, batch.map(|engine| Whole { engine, tables: &tables, access: None }))
}

/// The same where new tables have places.
pub(crate) fn compile_whole(
    script: &str,
    settings: Settings,
    models: Vec<ModelVersion>,
    whole: Option<Whole<'_>>,
) -> Result<Compiled, SqlError> {
    let mut session = Session::new(settings, models);
    if whole.is_some() {
        session = session.with_batches();
    }
    let mut outputs = Vec::new();
    let mut jobs: Vec<(JobStatement, usize)> = Vec::new();
    for statement in parse_script(script)? {
        let statement = completed(statement, whole)?;
        match session.execute(&statement)? {
            // A script's session refuses statements about jobs, and about users.
            Outcome::Done(_)
            | Outcome::Created { .. }
            | Outcome::Dropped { .. }
            | Outcome::JobCommand(_)
            | Outcome::Alias(_)
            | Outcome::Export(_)
            | Outcome::Access(_)
            | Outcome::Migration { .. } => {}
            Outcome::Rows(rows) => outputs.push(Output::Rows(rows)),
            Outcome::Job(job) if job.batch().is_some() => {
                jobs.extend(job.behind_its_rows().map(|training| (training, outputs.len())));
                outputs.push(Output::Batch(job));
            }
            Outcome::Job(job) => jobs.push((*job, outputs.len())),
        }
    }
    if jobs.is_empty() {
        return Ok(Compiled { graph: None, settings: session.settings, outputs, warnings: Vec::new() });
    }
    let mut builder = JobBuilder::new(&session);
    let mut results = Vec::new();
    for (job, place) in &jobs {
        let added = builder.add(job)?;
        if job.is_analyzed() {
            results.push((*place, Pending::Analysis(added)));
        } else if let Some(result) = added.result {
            results.push((*place, Pending::Result(result)));
        }
    }
    let settings = builder.job_settings().clone();
    let warnings = builder.warnings();
    let graph = builder.finish()?;
    // From the last to the first, so that inserting does not move the places still to come.
    for (place, result) in results.into_iter().rev() {
        let output = match result {
            Pending::Result(result) => Output::Result(result),
            Pending::Analysis(added) => Output::Analysis { sinks: added.sinks(&graph), result: added.result },
        };
        outputs.insert(place, output);
    }
    Ok(Compiled { graph: Some(graph), settings, outputs, warnings })
}

/// What queries as a whole need.
#[derive(Clone, Copy)]
pub(crate) struct Whole<'a> {
    /// Runs them, and knows what columns files have.
    pub(crate) engine: &'a dyn BatchEngine,
    /// Where new tables are.
    pub(crate) tables: &'a TableFolders,
    /// What knows secrets.
    pub(crate) access: Option<&'a Access>,
}

impl Whole<'_> {
    /// The columns of the files that these options of a source name.
    fn columns(&self, options: &[(String, String)]) -> Result<SchemaRef, String> {
        let mut options = options.to_vec();
        if let Some(access) = self.access {
            access.fill_options(&mut options, "the table")?;
        }
        let columns = self.engine.columns(&options).map_err(|error| chain(&error));
        columns.map_err(|told| self.access.map_or(told.clone(), |access| access.redact(&told)))
    }
}

/// A statement with what it leaves to others: the columns of its files, or the place of a new table.
pub(crate) fn completed(statement: ParsedStatement, whole: Option<Whole<'_>>) -> Result<ParsedStatement, SqlError> {
    if let Some(file) = statement.wants_model() {
        let found = model_files::read(&file).map_err(|told| SqlError::of_files(statement.position(), told))?;
        return statement.with_model(found);
    }
    let Some(whole) = whole else { return Ok(statement) };
    if let Some(name) = statement.wants_place_for() {
        return match whole.tables.place(name) {
            Some(place) => Ok(statement.with_place(place)),
            None if statement.needs_place() => Err(SqlError::of_no_place(statement.position())),
            None => Ok(statement),
        };
    }
    let Some(files) = statement.wants_columns_of() else { return Ok(statement) };
    let columns = whole.columns(files).map_err(|told| SqlError::of_files(statement.position(), told))?;
    statement.with_columns(&columns)
}

#[cfg(test)]
mod tests {
    use tidemill_plans::node::NodeKind;

    use super::*;

    const SOURCE: &str = "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 's', format = 'csv');";

    fn names(outputs: &[Output]) -> Vec<String> {
        let name = |output: &Output| match output {
            Output::Rows(rows) => rows.schema().field(0).name().clone(),
            Output::Result(result) => result.schema.field(0).name().clone(),
            Output::Batch(job) => job.text().to_owned(),
            Output::Analysis { sinks, .. } => sinks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        outputs.iter().map(name).collect()
    }

    #[test]
    fn what_is_printed_stands_in_the_order_of_the_statements() {
        let script = format!("{SOURCE} SELECT a AS x FROM s; SHOW parallelism; SELECT a AS y FROM s; SHOW SOURCES");
        let compiled = compile(&script, Settings::default(), Vec::new(), None).unwrap();
        assert_eq!(names(&compiled.outputs), ["x", "name", "y", "name"]);
        let sources = compiled.graph.unwrap().nodes.iter().filter(|node| node.kind.name() == "Source").count();
        assert_eq!(sources, 1, "the two queries share it");
    }

    #[test]
    fn an_analysis_is_of_what_its_statement_writes() {
        let sink = "CREATE SINK t (x INT) WITH (connector = 'blackhole');";
        let script = format!(
            "{SOURCE} {sink} SELECT a FROM s; EXPLAIN ANALYZE SELECT a AS y FROM s; EXPLAIN ANALYZE INSERT INTO t SELECT a FROM s"
        );
        let compiled = compile(&script, Settings::default(), Vec::new(), None).unwrap();
        let graph = compiled.graph.unwrap();
        let tables: Vec<&str> = graph
            .nodes
            .iter()
            .filter_map(|node| match &node.kind {
                NodeKind::Sink(sink) => Some(sink.table.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(tables, ["select_1", "select_2", "t"]);
        let sinks: Vec<&str> = compiled
            .outputs
            .iter()
            .filter_map(|output| match output {
                Output::Analysis { sinks, .. } => match &graph.node(sinks[0]).unwrap().kind {
                    NodeKind::Sink(sink) => Some(sink.table.as_str()),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        assert_eq!(sinks, ["select_2", "t"]);
    }

    #[test]
    fn a_script_without_queries_has_no_job() {
        let compiled =
            compile(&format!("{SOURCE} SET parallelism = 3"), Settings::default(), Vec::new(), None).unwrap();
        assert!(compiled.graph.is_none() && compiled.outputs.is_empty());
        assert_eq!(compiled.settings.parallelism, 3);
    }

    #[test]
    fn an_error_says_where_it_is() {
        let error = compile(&format!("{SOURCE}\nSELECT b FROM s"), Settings::default(), Vec::new(), None).unwrap_err();
        assert!(error.to_string().starts_with("line 2, column 8: "), "{error}");
    }

    #[test]
    fn models_of_earlier_jobs_are_shown() {
        let version = ModelVersion {
            model: String::from("ctr"),
            version: 3,
            learnt_to: 60_000_000,
            rows_learnt: 10,
            metrics: vec![(String::from("auc"), 0.75)],
        };
        let compiled = compile("SHOW MODELS", Settings::default(), vec![version], None).unwrap();
        let [Output::Rows(rows)] = compiled.outputs.as_slice() else { panic!("{compiled:?}") };
        let text = arrow::util::pretty::pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string();
        assert!(text.contains("ctr") && text.contains("1970-01-01 00:01:00") && text.contains("0.75"), "{text}");
    }
}
