//! What the command says of itself, what its exit statuses mean, and what has a shell complete it.

use std::fmt::Write;

use expect_test::expect_file;

use crate::command::{Folder, PATIENCE, Run};

fn run(arguments: &[&str]) -> crate::command::Output {
    Run::start(&Folder::new().path(""), arguments).output(PATIENCE)
}

/// The subcommands, as the help lists them.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(String::from).collect()
}

#[test]
fn every_command_has_help() {
    let mut all = run(&["--help"]).success().stdout;
    let found = commands(&all);
    assert!(found.len() > 8, "{found:?}");
    for command in found {
        let help = run(&[&command, "--help"]).success().stdout;
        write!(all, "\n\n$ tidemill {command} --help\n{help}").unwrap();
    }
    // Clap leaves spaces at the ends of lines.
    let lines: Vec<&str> = all.lines().map(str::trim_end).collect();
    expect_file!["help.txt"].assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn an_exit_status_says_how_it_has_ended() {
    assert_eq!(run(&["--version"]).status, Some(0));
    assert_eq!(run(&["run", "missing.sql"]).status, Some(1));
    for misunderstood in [&["run"][..], &["nothing"], &["shell", "--url", "grpc://127.0.0.1:1", "--workers", "2"], &[]]
    {
        assert_eq!(run(misunderstood).status, Some(2), "{misunderstood:?}");
    }
    let endless = "CREATE SOURCE b WITH (connector = 'nexmark', table = 'bid', rows_per_second = 100);
                   SELECT auction FROM b;";
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let running = Folder::new();
        let run = running.start(endless, &["--format", "csv"]);
        run.wait_for_row("auction");
        run.signal(signal);
        assert_eq!(run.output(PATIENCE).status, Some(status));
    }
}

#[test]
fn shells_can_complete_it() {
    for (shell, says) in
        [("bash", "complete -F _tidemill"), ("zsh", "#compdef tidemill"), ("fish", "complete -c tidemill")]
    {
        let script = run(&["completions", shell]).success().stdout;
        assert!(script.contains(says) && script.contains("data-dir"), "{script}");
    }
}

#[test]
fn whatever_has_rows_has_them_as_json() {
    let folder = Folder::new();
    let rows = folder.run(
        "CREATE VIEW v AS SELECT 1 AS a; EXPLAIN SELECT a FROM v; SHOW VIEWS; SELECT a FROM v;",
        &["--format", "json"],
    );
    let rows = rows.success().stdout;
    for line in rows.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().is_object(), "{line}");
    }
    assert!(rows.lines().count() > 3 && rows.ends_with("{\"a\":1}\n"), "{rows}");
    let plan = folder.run("EXPLAIN (FORMAT JSON) SELECT a FROM (VALUES (1)) v (a);", &[]).success().stdout;
    folder.write("plan.json", plan);
    let checked = Run::start(&folder.path(""), &["submit", "plan.json", "--check", "--format", "json"]);
    let checked = checked.output(PATIENCE).success().stdout;
    assert!(checked.lines().all(|line| line.starts_with("{\"plan\":")), "{checked}");
}
