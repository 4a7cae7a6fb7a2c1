//! Statements for a coordinator in another process, and what they come to on the terminal.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_coordinator::api::{Answer, Login, SqlClient};
use tidemill_net::Connector;

use crate::error::Result;
use crate::output::{self, Format, LiveRows};
use crate::say::say;

/// Has the coordinator at `url` execute statements for a user, if it has users, and prints what they come to.
pub async fn execute(url: &str, connector: &Connector, login: Option<Login>, sql: &str, format: Format) -> Result<()> {
    let mut answers = SqlClient::connect(url, connector, login).await?.execute(sql).await?;
    let mut printed = Printed::Nothing;
    while let Some(answer) = answers.next().await? {
        printed = match (answer, printed) {
            (Answer::Message(message), printed) => {
                say(&message);
                printed
            }
            (Answer::Begin { schema, is_live: true }, _) => {
                let live = LiveRows::new(format, schema);
                live.print_header()?;
                Printed::Live(live)
            }
            (Answer::Begin { schema, is_live: false }, _) => Printed::Held(schema, Vec::new()),
            (Answer::Rows(rows), Printed::Live(live)) => {
                rows.iter().try_for_each(|batch| live.print(batch))?;
                Printed::Live(live)
            }
            (Answer::Rows(more), Printed::Held(schema, mut rows)) => {
                rows.extend(more);
                Printed::Held(schema, rows)
            }
            (Answer::Rows(_), Printed::Nothing) => Printed::Nothing,
            (Answer::End, Printed::Live(live)) => {
                live.print_end()?;
                Printed::Nothing
            }
            (Answer::End, Printed::Held(schema, rows)) => {
                output::print(format, &schema, &rows)?;
                Printed::Nothing
            }
            (Answer::End, Printed::Nothing) => Printed::Nothing,
        };
    }
    Ok(())
}

/// The statement whose rows come.
enum Printed {
    Nothing,
    /// They are printed as they come.
    Live(LiveRows),
    /// They are printed when they are complete.
    Held(SchemaRef, Vec<RecordBatch>),
}
