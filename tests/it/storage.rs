//! Checkpoints on S3: on moto's server, which the test starts.

use crate::bank::Bank;
use crate::killed::kill_all;
use crate::moto::Moto;

const BUCKET: &str = "checkpoints";

fn manifests(server: &Moto) -> usize {
    server.names().iter().filter(|name| name.ends_with(".manifest")).count()
}

#[test]
fn a_job_goes_on_from_checkpoints_in_a_bucket() {
    let server = Moto::start(BUCKET);
    let settings = format!("SET checkpoint_storage = 's3://{BUCKET}/of/tests';");
    let mut bank = Bank::open_with(16_000, 11, &settings, &server.variables());
    bank.wait_for_commits(2);
    assert!(manifests(&server) > 0);
    assert!(server.names().iter().all(|name| name.starts_with("of/tests/")));
    bank.kill_a_worker();
    bank.wait_for_commits(2);
    kill_all(&bank.run);
    let checkpoints = manifests(&server);
    // Two are kept, and on top come those that were sealed while older ones were being removed.
    assert!((1..=5).contains(&checkpoints), "{checkpoints} are left of all that there have been");
    let bank = bank.resume();
    bank.wait_for_commits(2);
    bank.close();
}
