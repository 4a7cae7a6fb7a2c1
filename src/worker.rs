//! A worker as a process: it leaves its cluster when a signal asks for it.

use tidemill_net::Tls;
use tidemill_workers::{ProcessConfig, run_worker};
use tokio::sync::watch;

use crate::error::Result;
use crate::follow::End;
use crate::interrupts::Interrupts;

/// Runs a worker until its coordinator shuts it down, within an actix system. At a signal it leaves, once others have
/// what it runs; a second one does not wait for that.
pub async fn run(config: ProcessConfig) -> Result<End> {
    let mut interrupts = Interrupts::listen()?;
    let _renewal = config.tls.as_ref().map(Tls::renew);
    let (leave, leaving) = watch::channel(false);
    let signals = async {
        interrupts.next().await;
        leave.send_replace(true);
        interrupts.next().await
    };
    tokio::select! {
        ended = run_worker(config, leaving) => Ok(ended.map(|()| End::Finished)?),
        signal = signals => Ok(End::Interrupted(signal)),
    }
}
