//! What materialized views have, for queries as a whole that read them as tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use tidemill_plans::PlanError;
use tidemill_plans::settings::Settings;
use tidemill_sql::{Outcome, ParsedStatement, parse_script};
use tokio::time::timeout;

use super::appending::Holder;
use super::{LITTLE_WORK, Reply, SqlSession, sql_error};
use crate::access::Who;
use crate::error::{CoordinatorError, Result};
use crate::follow::follow;

impl SqlSession {
    /// The rows of the views that statements read as tables, as far as somebody may read them. Each is as of its own
    /// newest epoch.
    pub(super) async fn view_rows(
        &mut self,
        statements: &[ParsedStatement],
        settings: Option<&Settings>,
        who: &Who,
    ) -> Result<BTreeMap<String, RecordBatch>> {
        let own = settings.map(|settings| std::mem::replace(&mut self.sql.settings, settings.clone()));
        let views = self.sql.views_read_whole(statements);
        if let Some(own) = own {
            self.sql.settings = own;
        }
        let mut all = BTreeMap::new();
        for (view, text) in views {
            let rows = timeout(LITTLE_WORK, self.rows_of_view(&view, &text, who)).await;
            let message =
                format!("'{view}' could not be read within {LITTLE_WORK:?}: its job has no worker, or has much to do");
            all.insert(view, rows.map_err(|_| CoordinatorError::Statement { message })??);
        }
        Ok(all)
    }

    async fn rows_of_view(&mut self, view: &str, text: &str, who: &Who) -> Result<RecordBatch> {
        let lost = || CoordinatorError::Lost { part: "view" };
        let statement = parse_script(text).map_err(sql_error)?.pop().ok_or_else(lost)?;
        let rights = self.coordinator.access().rights(who)?;
        // With the settings that a stream has, whatever the statement's are.
        let own = std::mem::take(&mut self.sql.settings);
        let executed = self.sql.with_rights(rights, |sql| sql.execute(&statement)).map_err(sql_error);
        self.sql.settings = own;
        let Outcome::Job(job) = executed? else { return Err(lost()) };
        let Reply::Query(mut query) = self.select(*job, who).await? else { return Err(lost()) };
        if !query.result.ends {
            let message =
                format!("'{view}' is not held by a job of this session, so it has no rows that could be read");
            return Err(CoordinatorError::Statement { message });
        }
        let holder = Holder::of("a query that reads a view as a table");
        follow(&mut query, &holder).await?;
        let batches = holder.into_batches();
        // Fields alone: what a stream notes in a schema is no part of a table.
        let schema = Arc::new(Schema::new(query.result.schema.fields().clone()));
        Ok(concat_batches(&schema, &batches).map_err(PlanError::from)?)
    }
}
