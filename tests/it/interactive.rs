//! The shell as somebody at a terminal sees it, on a cluster of its own and at a server.

use crate::cluster::free_port;
use crate::command::{Folder, PATIENCE, Run};
use crate::terminal::{PROMPT, Terminal};

const SOURCE: &str = "CREATE SOURCE bids WITH (connector = 'nexmark', table = 'bid', rows_per_second = 2000);\r";

/// A server, and where it is.
fn serve(folder: &Folder) -> (Run, String) {
    let bind = format!("127.0.0.1:{}", free_port());
    let arguments = ["serve", "--bind", &bind, "--http", "127.0.0.1:0", "--slots", "2"];
    let server = Run::start(&folder.path(""), &arguments);
    server.wait_for_line("coordinator listens");
    (server, format!("grpc://{bind}"))
}

fn at_server(folder: &Folder, url: &str) -> Terminal {
    Terminal::start(&folder.path(""), &["shell", "--url", url])
}

fn end(server: Run) {
    server.signal("TERM");
    server.output(PATIENCE).success();
}

fn embedded(folder: &Folder) -> Terminal {
    Terminal::start(&folder.path(""), &["shell"])
}

/// What is the same wherever statements are executed.
#[track_caller]
fn check(mut shell: Terminal) {
    shell.begin();
    assert!(shell.run(SOURCE).contains("CREATE SOURCE bids\n"));

    // Several lines, a word that Tab ends, a name of the catalog, and a column of it.
    let shown = shell.run("SELECT 1 AS a,\r  'two' AS b\rFROM (VAL\t (1)) v;\r");
    assert!(shown.contains("FROM (VALUES (1)) v;") && shown.contains("| 1 | two |"), "{shown}");
    let shown = shell.run("SELECT auc\t, price FROM bi\t LIMIT 1;\r");
    assert!(shown.contains("SELECT auction, price FROM bids LIMIT 1;") && shown.contains("| auction"), "{shown}");
    // Those that may be meant are listed.
    shell.run("CREATE VIEW biddings AS SELECT url FROM bids;\r");
    shell.clear();
    shell.type_("DESCRIBE \t\t");
    shell.wait_for("biddings");
    shell.type_("\x15");

    // An endless SELECT ends, the shell does not.
    shell.clear();
    shell.type_("SELECT channel, count(*) AS n FROM bids GROUP BY channel;\r");
    shell.wait_for("| +U");
    shell.type_("\x03");
    shell.wait_for_end("stopped\ntidemill>");

    // What is wrong, and where.
    let shown = shell.run("SELECT price,\r  nothing FROM bids;\r");
    assert!(shown.contains("error: line 2, column 3: "), "{shown}");
    assert!(shown.contains("\n    nothing FROM bids;\n    ^\n"), "{shown}");

    let shown = shell.run("\\d\r");
    assert!(shown.contains("| bids     | source | nexmark |") && shown.contains("| biddings | view "), "{shown}");
    assert!(shell.run("\\d biddings\r").contains("| url    | VARCHAR |"));
    assert!(shell.run("\\d nothing\r").contains("there is no"));

    // Cells are cut to the terminal, or all is there on lines of its own.
    let shown = shell.run("SELECT repeat('long ', 40) AS text, '東京' AS city;\r");
    assert!(shown.contains("… | 東京 |") && shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert!(shell.run("\\x\r").contains("a line for each value"));
    let shown = shell.run("SELECT 1 AS first, 'b' AS b;\r");
    assert!(shown.contains("-[ 1 ]--\nfirst | 1\nb     | b\n"), "{shown}");
    shell.run("\\x\r");

    assert!(shell.run("\\timing\r").contains("timing is on"));
    assert!(shell.run("SELECT 7 AS seven;\r").contains(" ms\n"));
    shell.clear();
    shell.type_("\\watch 0.1\r");
    shell.wait_until("two results", |shown| shown.matches("| seven |").count() > 1);
    shell.type_("\x03");
    shell.next_prompt();

    // The arrow upwards brings back what was typed last.
    shell.clear();
    shell.type_("\x1b[A");
    shell.wait_for_end("tidemill> \\watch 0.1");
    shell.type_("\x1b[A");
    shell.wait_for_end("tidemill> SELECT 7 AS seven;");
    // Ctrl-C takes back what is typed; at an empty prompt it quits, the second time.
    shell.type_("\x03");
    shell.next_prompt();
    shell.type_("\x03");
    shell.wait_for_end("once more quits, as \\q does\ntidemill>");
    shell.type_("\x03");
    assert_eq!(shell.status(), 0);
}

#[test]
fn somebody_types_on_a_cluster_of_the_shell() {
    let folder = Folder::new();
    check(embedded(&folder));
    // Another shell remembers, also what was typed on several lines.
    let mut next = embedded(&folder);
    next.begin();
    next.type_("\x12nothing FR");
    next.wait_for("nothing FROM bids;");
    next.type_("\x07");
    next.wait_for_end(PROMPT);
    next.type_("\x04");
    assert_eq!(next.status(), 0);
}

#[test]
fn somebody_types_at_a_server() {
    let folder = Folder::new();
    let (server, url) = serve(&folder);
    check(at_server(&folder, &url));
    end(server);
}

#[test]
fn what_is_set_at_a_server_lasts_as_long_as_the_shell() {
    let folder = Folder::new();
    let (server, url) = serve(&folder);
    let mut shell = at_server(&folder, &url);
    shell.begin();
    assert!(shell.run("SET parallelism = 7;\r").contains("SET parallelism\n"));
    assert!(shell.run("SHOW parallelism;\r").contains("| parallelism | 7 "));
    shell.type_("\\q\r");
    assert_eq!(shell.status(), 0);
    end(server);
}

#[test]
fn a_pipe_is_executed_at_a_server() {
    let folder = Folder::new();
    let (server, url) = serve(&folder);
    let input = "CREATE VIEW v AS SELECT 1 AS a; SELECT a FROM v; SELECT a + 1 AS b FROM v;\n\\d v\nSELECT c FROM v;";
    let output = folder.shell(input, &["--url", &url, "--format", "csv"]).output(PATIENCE);
    assert_eq!(output.stdout, "a\n1\nb\n2\ncolumn,type,nullable,role\na,BIGINT,false,\n", "{}", output.stderr);
    let message = output.failure();
    assert!(message.starts_with("CREATE VIEW v\n") && message.contains("error: line 3, column 8: "), "{message}");
    end(server);
}

/// All pairs of so many numbers that nobody waits for their end.
const PAIRS: &str = "SELECT sum(x.v - y.v) AS s FROM n x, n y WHERE x.v + y.v >= 0";
const NUMBERS: &str = "CREATE TABLE n (v BIGINT) WITH (connector = 'files', path = 'n.csv', format = 'csv');";

fn with_numbers() -> Folder {
    let numbers: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    Folder::with(&[("n.csv", &format!("v\n{numbers}"))])
}

/// Waits until one line says how far a query is.
#[track_caller]
fn wait_for_progress(terminal: &Terminal) {
    terminal.wait_until("progress in one line", |shown| {
        let lines: Vec<&str> = shown.lines().filter(|line| line.contains("rows ")).collect();
        lines.len() == 1 && lines[0].contains("read ") && lines[0].contains('%') && lines[0].ends_with(" s")
    });
}

/// A query that is a while under way says how far it is, and no more of that when it ends.
#[track_caller]
fn check_progress(mut shell: Terminal) {
    shell.begin();
    shell.run(&format!("{NUMBERS}\r"));
    shell.clear();
    shell.type_(&format!("{PAIRS};\r"));
    wait_for_progress(&shell);
    shell.type_("\x03");
    let shown = shell.wait_for_end("stopped\ntidemill>");
    assert!(!shown.contains("rows "), "{shown}");
    shell.type_("\\q\r");
    assert_eq!(shell.status(), 0);
}

#[test]
fn a_long_query_says_how_far_it_is_in_the_shell() {
    check_progress(embedded(&with_numbers()));
}

#[test]
fn a_long_query_at_a_server_says_how_far_it_is() {
    let folder = with_numbers();
    let (server, url) = serve(&folder);
    check_progress(at_server(&folder, &url));
    // The table is still there, for it is the server's.
    let sql = Terminal::start(&folder.path(""), &["sql", "--url", &url, "-c", PAIRS]);
    wait_for_progress(&sql);
    drop(sql);
    end(server);
}

#[test]
fn a_script_says_how_far_its_long_query_is() {
    let folder = with_numbers();
    folder.write("pairs.sql", format!("{NUMBERS}\n{PAIRS};"));
    let mut script = Terminal::start(&folder.path(""), &["run", "pairs.sql"]);
    wait_for_progress(&script);
    script.type_("\x03");
    assert_eq!(script.status(), 130);
}
