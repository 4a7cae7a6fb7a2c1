//! Statements for a coordinator in another process, and what they come to on the terminal.

use std::io::IsTerminal;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_coordinator::api::{Answer, Login, SqlClient};
use tidemill_net::Connector;

use crate::error::Result;
use crate::output::{self, Format, LiveRows};
use crate::progress::Waiting;
use crate::say::say;

/// Has the coordinator at `url` execute statements for a user, if it has users, and prints what they come to.
pub async fn execute(url: &str, connector: &Connector, login: Option<Login>, sql: &str, format: Format) -> Result<()> {
    let is_terminal = std::io::stderr().is_terminal();
    let mut answers = SqlClient::connect(url, connector, login).await?.execute(sql, is_terminal).await?;
    let mut printed = Printed::Nothing;
    let mut waiting: Option<Waiting> = None;
    loop {
        let answer = answers.next().await;
        if let Ok(Some(Answer::Progress(progress))) = answer {
            let waiting = waiting.get_or_insert_with(Waiting::new);
            waiting.tell(Some(progress.to_string()));
            waiting.show(None);
            continue;
        }
        let is_held = match &answer {
            Ok(Some(Answer::Begin { is_live, .. })) => !is_live,
            Ok(Some(Answer::Rows(_))) => matches!(printed, Printed::Held(..)),
            _ => false,
        };
        if !is_held {
            waiting.take().iter_mut().for_each(Waiting::clear);
        }
        let Some(answer) = answer? else { return Ok(()) };
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
            (Answer::End | Answer::Progress(_), printed) => printed,
        };
    }
}

/// The statement whose rows come.
enum Printed {
    Nothing,
    /// They are printed as they come.
    Live(LiveRows),
    /// They are printed when they are complete.
    Held(SchemaRef, Vec<RecordBatch>),
}
