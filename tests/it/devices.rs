//! What a process computes with is chosen when it starts, and SHOW DEVICES says it.

use std::thread;

use crate::command::{Folder, PATIENCE, Run};
use crate::flight_sql::{POLL, Served, TRIES, shown};

#[test]
fn a_script_says_what_it_computes_with() {
    let folder = Folder::new();
    let shown = folder.run("SHOW DEVICES;", &["--compute-device", "cpu", "--format", "csv"]).success().stdout;
    assert_eq!(
        shown,
        "node,device,reason,lost,bytes_up,bytes_down,dispatches,fallbacks,not_worth\n\
         this process,cpu,--compute-device cpu,,0,0,0,0,0\n"
    );
    let table = "SELECT count(*) AS n FROM tidemill.devices WHERE device = 'cpu'";
    assert_eq!(folder.run(table, &["--format", "csv"]).success().stdout, "n\n1\n");
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let folder = Folder::new();
    // Without the feature, and with it where there is no adapter, there is none.
    if cfg!(not(feature = "wgpu")) {
        let message = folder.run("SHOW DEVICES;", &["--compute-device", "wgpu"]).failure();
        assert!(message.contains("--compute-device") && message.contains("wgpu"), "{message}");
    }
    let output = folder.run("SHOW DEVICES;", &["--compute-device", "tpu"]);
    assert!(output.status == Some(2) && output.stderr.contains("auto, cpu, wgpu"), "{}", output.stderr);
}

#[test]
fn workers_tell_theirs() {
    let mut served = Served::start();
    let address = format!("127.0.0.1:{}", served.port);
    let arguments = ["worker", "--coordinator", &address, "--compute-device", "cpu", "--end-without-coordinator"];
    let worker = Run::start(&served.folder.path(""), &arguments);
    let mut devices = String::new();
    for _ in 0..TRIES {
        devices = shown(&served.ask("SHOW DEVICES"));
        if devices.matches("| cpu ").count() == 2 {
            break;
        }
        thread::sleep(POLL);
    }
    assert!(devices.matches("| cpu ").count() == 2 && devices.contains("| coordinator "), "{devices}");
    served.end();
    drop(worker.output(PATIENCE));
}
