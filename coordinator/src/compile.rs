//! From a script to the graph of its job, and to what each statement prints.
//!
//! Statements are executed one after another; those that have to run are put into one graph, which
//! shares sources, views and models.

use arrow::array::RecordBatch;
use tidemill_plans::catalog::ModelVersion;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::settings::Settings;
use tidemill_sql::{JobBuilder, JobStatement, Outcome, ResultColumns, Session, SqlError, parse_script};

/// What a script comes to.
#[derive(Debug)]
pub struct Compiled {
    /// The job of all its statements; `None` if nothing has to run.
    pub graph: Option<DataflowGraph>,
    /// The settings of the job.
    pub settings: Settings,
    /// What is printed, in the order of the statements.
    pub outputs: Vec<Output>,
}

/// What a statement prints.
#[derive(Debug)]
pub enum Output {
    /// Rows that are known already.
    Rows(RecordBatch),
    /// The rows of a job's result.
    Result(ResultColumns),
}

/// Compiles a script. `settings` are those before its first statement, `models` what the registry
/// knows.
///
/// # Errors
/// What is wrong with the first statement that is, and where it stands.
pub fn compile(script: &str, settings: Settings, models: Vec<ModelVersion>) -> Result<Compiled, SqlError> {
    let mut session = Session::new(settings, models);
    let mut outputs = Vec::new();
    let mut jobs: Vec<(JobStatement, usize)> = Vec::new();
    for statement in parse_script(script)? {
        match session.execute(&statement)? {
            Outcome::Done(_) | Outcome::Dropped { .. } => {}
            Outcome::Rows(rows) => outputs.push(Output::Rows(rows)),
            Outcome::Job(job) => jobs.push((*job, outputs.len())),
        }
    }
    if jobs.is_empty() {
        return Ok(Compiled { graph: None, settings: session.settings, outputs });
    }
    let mut builder = JobBuilder::new(&session);
    let mut results = Vec::new();
    for (job, place) in &jobs {
        if let Some(result) = builder.add(job)?.result {
            results.push((*place, Output::Result(result)));
        }
    }
    // From the last to the first, so that inserting does not move the places still to come.
    for (place, result) in results.into_iter().rev() {
        outputs.insert(place, result);
    }
    let settings = builder.job_settings().clone();
    Ok(Compiled { graph: Some(builder.finish()?), settings, outputs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "CREATE SOURCE s (a INT) WITH (connector = 'files', path = 's', format = 'csv');";

    fn names(outputs: &[Output]) -> Vec<String> {
        let name = |output: &Output| match output {
            Output::Rows(rows) => rows.schema().field(0).name().clone(),
            Output::Result(result) => result.schema.field(0).name().clone(),
        };
        outputs.iter().map(name).collect()
    }

    #[test]
    fn what_is_printed_stands_in_the_order_of_the_statements() {
        let script = format!("{SOURCE} SELECT a AS x FROM s; SHOW parallelism; SELECT a AS y FROM s; SHOW SOURCES");
        let compiled = compile(&script, Settings::default(), Vec::new()).unwrap();
        assert_eq!(names(&compiled.outputs), ["x", "name", "y", "name"]);
        let sources = compiled.graph.unwrap().nodes.iter().filter(|node| node.kind.name() == "Source").count();
        assert_eq!(sources, 1, "the two queries share it");
    }

    #[test]
    fn a_script_without_queries_has_no_job() {
        let compiled = compile(&format!("{SOURCE} SET parallelism = 3"), Settings::default(), Vec::new()).unwrap();
        assert!(compiled.graph.is_none() && compiled.outputs.is_empty());
        assert_eq!(compiled.settings.parallelism, 3);
    }

    #[test]
    fn an_error_says_where_it_is() {
        let error = compile(&format!("{SOURCE}\nSELECT b FROM s"), Settings::default(), Vec::new()).unwrap_err();
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
        let compiled = compile("SHOW MODELS", Settings::default(), vec![version]).unwrap();
        let [Output::Rows(rows)] = compiled.outputs.as_slice() else { panic!("{compiled:?}") };
        let text = arrow::util::pretty::pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string();
        assert!(text.contains("ctr") && text.contains("1970-01-01 00:01:00") && text.contains("0.75"), "{text}");
    }
}
