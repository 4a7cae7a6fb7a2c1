//! What `tidemill serve` and `tidemill coordinator` have in common: who is let in, and how much is taken on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::limits::LimitArguments;
use super::tls::ServerTls;
use super::users::UserArguments;
use crate::coordinator::Coordinator;
use crate::error::Result;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    #[command(flatten)]
    tls: ServerTls,
    #[command(flatten)]
    users: UserArguments,
    #[command(flatten)]
    limits: LimitArguments,
    /// Let other machines reach it, though encryption or authentication is missing.
    #[arg(long)]
    insecure: bool,
}

/// In which the two differ.
pub(super) struct Place {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) bind: SocketAddr,
    pub(super) http: Option<SocketAddr>,
    pub(super) heartbeat_timeout: Duration,
    pub(super) slots: Option<u32>,
}

impl ServerArguments {
    /// The coordinator at this place.
    pub(super) fn coordinator(&self, place: Place) -> Result<Coordinator> {
        let Place { data_dir, bind, http, heartbeat_timeout, slots } = place;
        let jwt_keys = self.users.jwt_keys()?;
        Ok(Coordinator {
            data_dir,
            bind,
            http,
            tls: self.tls.open()?,
            insecure: self.insecure,
            connections_max: self.limits.connections(),
            limits: self.limits.of_coordinator(),
            heartbeat_timeout,
            access: self.users.access(jwt_keys.as_ref())?,
            jwt_keys,
            first_user: self.users.first_user()?,
            slots,
        })
    }
}
