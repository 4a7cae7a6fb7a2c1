//! Statements as the parser leaves them: names normalised, options as text, queries as sqlparser has them.

use std::fmt;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{DataType, Expr, Parens, Query, SetExpr};

use tidemill_plans::PlanError;
use tidemill_plans::batch::CopyTarget;

use crate::access::AccessCommand;
use crate::ast::quoted;
use crate::error::{Position, SqlError};
use crate::substrait::SubstraitPlan;

/// A name and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    /// Lower case unless it was quoted.
    pub(crate) text: String,
    /// Where.
    pub(crate) at: Position,
}

/// Options of a WITH clause.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Key and value, in the order they were written.
    pub(crate) pairs: Vec<(String, String)>,
    /// Where each key stands.
    pub(crate) places: Vec<(String, Position)>,
    /// Where the clause starts.
    pub(crate) at: Position,
}

impl Options {
    /// Where an option stands; where all of them do if it was not given.
    pub(crate) fn place(&self, key: &str) -> Position {
        self.places.iter().find(|(name, _)| name == key).map_or(self.at, |(_, at)| *at)
    }

    /// An error about an option, where that stands.
    pub(crate) fn locate(&self, error: PlanError) -> SqlError {
        let place = match &error {
            PlanError::GivenOption { option, .. } => self.place(option),
            _ => self.at,
        };
        SqlError::from(error).at(place)
    }

    /// What an option was set to.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Takes an option out.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(k, _)| k == key)?;
        Some(self.pairs.remove(index).1)
    }
}

/// A query with the clauses behind it.
#[derive(Debug, Clone)]
pub(crate) struct StreamQuery {
    pub(crate) body: QueryBody,
    pub(crate) late: Option<LateClause>,
    pub(crate) emit: Option<EmitClause>,
}

/// What a query is written in.
#[derive(Debug, Clone)]
pub(crate) enum QueryBody {
    Sql(Box<Query>),
    Substrait(Arc<SubstraitPlan>),
}

/// LATE DATA and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct LateClause {
    pub(crate) data: LateData,
    pub(crate) at: Position,
}

/// What becomes of rows that come when all windows that hold them have closed.
#[derive(Debug, Clone)]
pub(crate) enum LateData {
    /// They are counted and left out.
    Drop,
    /// They are written to this sink.
    Into(Name),
    /// They update results for so long after a window's end.
    UpdateWithin(Box<Expr>),
}

/// EMIT and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct EmitClause {
    pub(crate) when: EmitWhen,
    pub(crate) at: Position,
}

/// When a query's rows are emitted.
#[derive(Debug, Clone)]
pub(crate) enum EmitWhen {
    /// As they change.
    OnUpdate,
    /// Once, when their window is complete.
    OnWindowClose,
    /// What has changed, so often.
    Every(Box<Expr>),
}

impl StreamQuery {
    /// The rows of VALUES, if it is nothing else.
    pub(crate) fn rows(&self) -> Option<&Vec<Parens<Vec<Expr>>>> {
        let body = self.sql()?;
        match body.body.as_ref() {
            SetExpr::Values(values) if body.with.is_none() && body.limit_clause.is_none() => Some(&values.rows),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn rows_mut(&mut self) -> Option<&mut Vec<Parens<Vec<Expr>>>> {
        match self.sql_mut()?.body.as_mut() {
            SetExpr::Values(values) => Some(&mut values.rows),
            _ => None,
        }
    }

    /// A query without clauses behind it.
    pub(crate) fn plain(body: Box<Query>) -> Self {
        Self { body: QueryBody::Sql(body), late: None, emit: None }
    }

    /// A query that is a plan in Substrait.
    pub(crate) fn of_substrait(plan: Arc<SubstraitPlan>) -> Self {
        Self { body: QueryBody::Substrait(plan), late: None, emit: None }
    }

    /// Its syntax tree, if it is SQL.
    pub(crate) fn sql(&self) -> Option<&Query> {
        match &self.body {
            QueryBody::Sql(query) => Some(query),
            QueryBody::Substrait(_) => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn sql_mut(&mut self) -> Option<&mut Query> {
        match &mut self.body {
            QueryBody::Sql(query) => Some(query),
            QueryBody::Substrait(_) => None,
        }
    }
}

/// A statement about jobs, which is for whoever runs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobCommand {
    /// SHOW JOBS.
    ShowJobs,
    /// SHOW JOB j.
    ShowJob(JobName),
    /// SHOW CHECKPOINTS FOR JOB j.
    ShowCheckpoints(JobName),
    /// SHOW METRICS FOR JOB j.
    ShowMetrics(JobName),
    /// STOP JOB j.
    Stop(JobName),
    /// RESUME JOB j: one that has failed.
    Resume(JobName),
    /// STOP JOB j WITH SAVEPOINT ['url'], and CREATE SAVEPOINT FOR JOB j ['url'].
    Savepoint {
        /// Which job.
        job: JobName,
        /// Where it is to be written; below the job's checkpoints if it is not said.
        url: Option<String>,
        /// Whether the job ends with it.
        stops: bool,
    },
    /// ALTER JOB j SET parallelism = n.
    Rescale {
        /// Which job.
        job: JobName,
        /// How many instances its operators are to have that can be spread.
        parallelism: u32,
    },
}

impl JobCommand {
    /// Whether it comes to rows, and has no other effect.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        match self {
            Self::ShowJobs | Self::ShowJob(_) | Self::ShowCheckpoints(_) | Self::ShowMetrics(_) => true,
            Self::Stop(_) | Self::Resume(_) | Self::Savepoint { .. } | Self::Rescale { .. } => false,
        }
    }
}

/// The statement.
impl fmt::Display for JobCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShowJobs => write!(f, "SHOW JOBS"),
            Self::ShowJob(job) => write!(f, "SHOW JOB {job}"),
            Self::ShowCheckpoints(job) => write!(f, "SHOW CHECKPOINTS FOR JOB {job}"),
            Self::ShowMetrics(job) => write!(f, "SHOW METRICS FOR JOB {job}"),
            Self::Stop(job) => write!(f, "STOP JOB {job}"),
            Self::Resume(job) => write!(f, "RESUME JOB {job}"),
            Self::Savepoint { job, url, stops } => {
                match stops {
                    true => write!(f, "STOP JOB {job} WITH SAVEPOINT")?,
                    false => write!(f, "CREATE SAVEPOINT FOR JOB {job}")?,
                }
                url.iter().try_for_each(|url| write!(f, " '{}'", url.replace('\'', "''")))
            }
            Self::Rescale { job, parallelism } => write!(f, "ALTER JOB {job} SET parallelism = {parallelism}"),
        }
    }
}

/// How a statement names a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobName {
    /// By its number.
    Number(u64),
    /// By an object that it makes.
    Object(String),
}

impl From<&str> for JobName {
    /// A text of digits is a number.
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Object(text.to_owned()), Self::Number)
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Object(name) => write!(f, "\"{}\"", name.replace('"', "\"\"")),
        }
    }
}

/// One statement.
#[derive(Debug, Clone)]
pub(crate) enum Statement {
    /// CREATE SOURCE, CREATE TABLE.
    CreateSource(Box<CreateSource>),
    /// CREATE TABLE AS.
    CreateTableAs(Box<CreateTableAs>),
    /// CREATE SINK.
    CreateSink(CreateSink),
    /// CREATE [MATERIALIZED] VIEW.
    CreateView(CreateView),
    /// CREATE MODEL.
    CreateModel(CreateModel),
    /// CREATE FUNCTION.
    CreateFunction(Box<CreateFunction>),
    /// INSERT INTO.
    Insert(Insert),
    /// SELECT.
    Query(StreamQuery),
    /// COPY.
    Copy(Copy),
    /// SUBSCRIBE TO.
    Subscribe(Name),
    /// EXPLAIN.
    Explain(Box<Statement>),
    /// EXPLAIN (FORMAT JSON).
    ExplainJson(Box<Statement>),
    /// EXPLAIN ANALYZE.
    Analyze(Box<Statement>),
    /// EXPLAIN MIGRATION.
    ExplainMigration(Box<Statement>),
    /// SET.
    Set { name: Name, value: String },
    /// SHOW, of all or of those whose names are like a pattern.
    Show(Name, Option<String>),
    /// SHOW CONNECTOR.
    ShowConnector(Name),
    /// SHOW CREATE.
    ShowCreate(Name),
    /// SHOW VERSIONS IN MODEL.
    ShowVersions(Name),
    /// ALTER MODEL.
    AlterModel(AlterModel),
    /// CREATE MODEL FROM FILE.
    ImportModel(Box<ImportModel>),
    /// EXPORT MODEL.
    ExportModel(ExportModel),
    /// DESCRIBE.
    Describe(Name),
    /// About jobs: SHOW JOBS, JOB, CHECKPOINTS and METRICS, STOP JOB, RESUME JOB, ALTER JOB, CREATE SAVEPOINT.
    Job(JobCommand),
    /// About roles, privileges, secrets and the audit log.
    Access(AccessCommand),
    /// DROP.
    Drop { what: DropKind, if_exists: bool, name: Name },
}

impl Statement {
    /// Whether it starts a job that may go on with the state of another, or is about one that would.
    pub(crate) fn starts_job(&self) -> bool {
        match self {
            Self::CreateSink(sink) => sink.query.is_some(),
            Self::CreateView(view) => view.materialized,
            Self::CreateModel(_) | Self::Insert(_) => true,
            Self::ExplainMigration(inner) => inner.starts_job(),
            _ => false,
        }
    }
}

/// ALTER MODEL m VERSION 3 SET ALIAS a [FORCE], or ALTER MODEL m UNSET ALIAS a.
#[derive(Debug, Clone)]
pub(crate) struct AlterModel {
    pub(crate) name: Name,
    pub(crate) alias: Name,
    /// None of UNSET.
    pub(crate) version: Option<i64>,
    /// Whether the version gets it even if it does no better than a guess.
    pub(crate) is_forced: bool,
}

/// CREATE MODEL m [(columns)] FROM FILE 'path' [WITH (…)].
#[derive(Debug, Clone)]
pub(crate) struct ImportModel {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    /// None until the file has been read.
    pub(crate) columns: Option<Vec<(String, DataType)>>,
    pub(crate) path: String,
    pub(crate) options: Options,
    /// Its bytes, from the reading of the file until they are kept.
    pub(crate) state: Option<Arc<Vec<u8>>>,
}

/// EXPORT MODEL m TO 'path'.
#[derive(Debug, Clone)]
pub(crate) struct ExportModel {
    /// With $ or @ it says which version.
    pub(crate) name: Name,
    pub(crate) path: String,
    pub(crate) options: Options,
}

/// CREATE SOURCE.
#[derive(Debug, Clone)]
pub(crate) struct CreateSource {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    /// Whether there is a list of columns, which may be empty.
    pub(crate) listed: bool,
    /// Whether without columns it has those of its files.
    pub(crate) is_external: bool,
    pub(crate) columns: Vec<SourceColumn>,
    pub(crate) key: Option<PrimaryKey>,
    pub(crate) watermark: Option<Watermark>,
    pub(crate) options: Options,
}

/// PRIMARY KEY (columns) [NOT ENFORCED].
#[derive(Debug, Clone)]
pub(crate) struct PrimaryKey {
    /// Never none.
    pub(crate) columns: Vec<Name>,
    pub(crate) at: Position,
}

/// A column of a source.
#[derive(Debug, Clone)]
pub(crate) struct SourceColumn {
    pub(crate) name: Name,
    /// Always given unless the column is generated.
    pub(crate) data_type: Option<DataType>,
    pub(crate) not_null: bool,
    /// The expression of a generated column.
    pub(crate) generated: Option<Expr>,
}

/// WATERMARK FOR column AS expression.
#[derive(Debug, Clone)]
pub(crate) struct Watermark {
    pub(crate) column: Name,
    pub(crate) expr: Expr,
}

/// CREATE SINK.
#[derive(Debug, Clone)]
pub(crate) struct CreateSink {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    /// Declared columns; none means that any rows may be inserted.
    pub(crate) columns: Vec<SourceColumn>,
    pub(crate) key: Option<PrimaryKey>,
    pub(crate) options: Options,
    /// AS SELECT …, or SELECT * FROM the view of FROM view.
    pub(crate) query: Option<StreamQuery>,
}

/// CREATE VIEW.
#[derive(Debug, Clone)]
pub(crate) struct CreateView {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) or_replace: bool,
    pub(crate) materialized: bool,
    pub(crate) query: StreamQuery,
}

/// CREATE MODEL.
#[derive(Debug, Clone)]
pub(crate) struct CreateModel {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) or_replace: bool,
    /// What features it makes of the query's columns, if these are not its features.
    pub(crate) transform: Option<TransformClause>,
    pub(crate) options: Options,
    /// Where its training set may be, if it has one, and nothing else is.
    pub(crate) place: Option<String>,
    pub(crate) query: StreamQuery,
}

/// TRANSFORM (items).
#[derive(Debug, Clone)]
pub(crate) struct TransformClause {
    /// Never none.
    pub(crate) items: Vec<TransformItem>,
    pub(crate) at: Position,
}

/// What stands between two commas of it.
#[derive(Debug, Clone)]
pub(crate) enum TransformItem {
    /// All columns of the query but these.
    All { except: Vec<Name>, at: Position },
    /// A feature, or the label.
    Column { expr: Box<Expr>, name: Name, at: Position },
}

/// The clause, as it is read.
impl fmt::Display for TransformClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<String> = self.items.iter().map(ToString::to_string).collect();
        write!(f, "TRANSFORM ({})", items.join(", "))
    }
}

impl fmt::Display for TransformItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { except, .. } if except.is_empty() => write!(f, "*"),
            Self::All { except, .. } => {
                let names: Vec<String> = except.iter().map(|name| quoted(&name.text).to_string()).collect();
                write!(f, "* EXCEPT ({})", names.join(", "))
            }
            Self::Column { expr, name, .. } => write!(f, "{expr} AS {}", quoted(&name.text)),
        }
    }
}

/// CREATE FUNCTION.
#[derive(Debug, Clone)]
pub(crate) struct CreateFunction {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) or_replace: bool,
    pub(crate) parameters: Vec<ParameterDefinition>,
    /// The body's own type if it is not given.
    pub(crate) returns: Option<DataType>,
    pub(crate) body: Expr,
    /// Where RETURN or AS stands.
    pub(crate) body_at: Position,
}

/// A parameter of a function.
#[derive(Debug, Clone)]
pub(crate) struct ParameterDefinition {
    pub(crate) name: Name,
    pub(crate) data_type: DataType,
    pub(crate) default: Option<Expr>,
}

/// COPY query TO file.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) query: StreamQuery,
    pub(crate) target: CopyTarget,
    pub(crate) at: Position,
}

/// INSERT INTO sink [(columns)] query.
#[derive(Debug, Clone)]
pub(crate) struct Insert {
    pub(crate) sink: Name,
    pub(crate) columns: Vec<Name>,
    pub(crate) query: StreamQuery,
    /// Whether it has to share a job: others of the same text write to the sink, or it begins from a savepoint.
    pub(crate) is_of_job: bool,
}

/// CREATE TABLE name [WITH (options)] AS query.
#[derive(Debug, Clone)]
pub(crate) struct CreateTableAs {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) or_replace: bool,
    pub(crate) options: Options,
    /// Whether its place was not the user's to name.
    pub(crate) is_placed: bool,
    pub(crate) query: StreamQuery,
}

/// What DROP names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropKind {
    /// DROP SOURCE, DROP TABLE.
    Source,
    /// DROP SINK.
    Sink,
    /// DROP VIEW, DROP MATERIALIZED VIEW.
    View,
    /// DROP MODEL.
    Model,
    /// DROP FUNCTION.
    Function,
}
