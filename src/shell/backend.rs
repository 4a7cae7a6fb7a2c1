//! Where a shell's statements are executed: on a cluster of its own, or at a coordinator in another process.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};

use super::completion::Names;
use super::embedded::Embedded;
use super::screen::Screen;
use super::server::Server;
use crate::error::{Result, TidemillError};

/// What kind of function is an object of the catalog, as SHOW FUNCTIONS has it.
const CREATED_FUNCTION: &str = "scalar, in SQL";

pub(super) enum Backend<'a> {
    Embedded(Box<Embedded<'a>>),
    Server(Box<Server>),
}

impl Backend<'_> {
    /// Executes statements, and shows what they come to.
    pub(super) async fn execute(&mut self, text: &str, screen: &mut Screen) -> Result<()> {
        match self {
            Self::Embedded(embedded) => embedded.execute(text, screen).await,
            Self::Server(server) => server.execute(text, screen).await,
        }
    }

    /// What the catalog has, for completion.
    pub(super) async fn names(&mut self) -> Result<Names> {
        let mut names = match self {
            Self::Embedded(embedded) => embedded.tables(),
            Self::Server(server) => server.tables().await?,
        };
        let models = self.texts("SHOW MODELS", ["name"]).await?;
        names.objects.extend(models.into_iter().map(|[name]| (name, Vec::new())));
        names.functions = self.texts("SHOW FUNCTIONS", ["name"]).await?.into_iter().map(|[name]| name).collect();
        Ok(names)
    }

    /// The objects of the catalog: what they are called, what they are, and what of them is the first thing to know.
    pub(super) async fn objects(&mut self) -> Result<RecordBatch> {
        let mut objects = Vec::new();
        for statement in ["SHOW SOURCES", "SHOW VIEWS", "SHOW SINKS"] {
            objects.extend(self.texts(statement, ["name", "kind", "connector"]).await?);
        }
        let models = self.texts("SHOW MODELS", ["name", "model_type"]).await?;
        objects.extend(models.into_iter().map(|[name, model_type]| [name, String::from("model"), model_type]));
        let functions = self.texts("SHOW FUNCTIONS", ["name", "kind", "arguments"]).await?;
        let created = functions.into_iter().filter(|[_, kind, _]| kind == CREATED_FUNCTION);
        objects.extend(created.map(|[name, _, arguments]| [name, String::from("function"), arguments]));
        let column = |at: usize| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(objects.iter().map(|object: &[String; 3]| &object[at])))
        };
        Ok(RecordBatch::try_from_iter([("name", column(0)), ("kind", column(1)), ("detail", column(2))])?)
    }

    /// The texts in these columns of a statement's rows.
    async fn texts<const N: usize>(&mut self, statement: &str, columns: [&str; N]) -> Result<Vec<[String; N]>> {
        let batches = match self {
            Self::Embedded(embedded) => embedded.rows(statement).await?,
            Self::Server(server) => server.rows(statement).await?,
        };
        let mut rows = Vec::new();
        for batch in batches {
            let columns =
                columns.map(|name| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()));
            let text = |row: usize| {
                columns.map(|column| column.map_or_else(String::new, |column| column.value(row).to_owned()))
            };
            rows.extend((0..batch.num_rows()).map(text));
        }
        Ok(rows)
    }

    /// The jobs that have failed since the last call, as messages. Those of a server are there for others, too.
    pub(super) fn failures(&mut self) -> Vec<String> {
        match self {
            Self::Embedded(embedded) => embedded.failures(),
            Self::Server(_) => Vec::new(),
        }
    }

    /// Waits until there is nothing any more to execute statements.
    pub(super) async fn ended(&mut self) -> TidemillError {
        match self {
            Self::Embedded(embedded) => embedded.ended().await,
            // Each statement tries to connect again.
            Self::Server(_) => std::future::pending().await,
        }
    }

    /// Waits for the jobs that end by themselves and with the shell.
    pub(super) async fn finish(&mut self, screen: &mut Screen) -> Result<()> {
        match self {
            Self::Embedded(embedded) => embedded.finish(screen).await,
            Self::Server(_) => Ok(()),
        }
    }

    /// Ends what ends with the shell.
    pub(super) async fn close(&mut self, has_to_end: bool) -> Result<()> {
        match self {
            Self::Embedded(embedded) => embedded.close(has_to_end).await,
            Self::Server(_) => Ok(()),
        }
    }
}
