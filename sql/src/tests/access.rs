//! Statements about roles, privileges and secrets: what they mean, written as they could have been.

use expect_test::{Expect, expect};

use super::*;

/// Checks what statements mean, a line each, or what is wrong.
fn check(statements: &[&str], expected: Expect) {
    let line = |sql: &&str| {
        let mut session = Session::interactive(Default::default());
        match parse_script(sql)
            .and_then(|parsed| parsed.iter().map(|one| session.execute(one)).collect::<Result<Vec<_>>>())
        {
            Ok(outcomes) => match outcomes.as_slice() {
                [Outcome::Access(command)] => command.to_string(),
                other => panic!("{other:?}"),
            },
            Err(error) => format!("error: {error}"),
        }
    };
    expected.assert_eq(&statements.iter().map(line).collect::<Vec<_>>().join("\n"));
}

#[test]
fn roles_are_made_and_changed() {
    check(
        &[
            "CREATE ROLE readers",
            "create user Ann with password 'x' valid until '2027-01-01'",
            "CREATE USER \"Ann B\" SUPERUSER NOLOGIN",
            "ALTER ROLE ann PASSWORD NULL VALID UNTIL 'infinity'",
            "ALTER USER ann SET Max_Statements = 4",
            "ALTER ROLE \"Ann\" SET max_jobs TO 0",
            "ALTER ROLE ann RESET max_jobs",
            "ALTER ROLE ann RESET ALL",
            "ALTER USER ann NOSUPERUSER",
            "DROP USER IF EXISTS ann",
            "REASSIGN OWNED BY ann TO bob",
            "REVOKE TOKENS FROM ann",
            "SHOW ROLES",
            "SHOW GRANTS FOR ann",
            "SHOW AUDIT LIMIT 7",
            "SHOW SECRETS",
        ],
        expect![[r#"
            CREATE ROLE readers NOLOGIN
            CREATE ROLE ann LOGIN PASSWORD '***' VALID UNTIL '2027-01-01 00:00:00'
            CREATE ROLE "Ann B" NOLOGIN SUPERUSER
            ALTER ROLE ann PASSWORD NULL VALID UNTIL 'infinity'
            ALTER ROLE ann SET max_statements = 4
            ALTER ROLE "Ann" SET max_jobs = 0
            ALTER ROLE ann RESET max_jobs
            ALTER ROLE ann RESET ALL
            ALTER ROLE ann NOSUPERUSER
            DROP ROLE IF EXISTS ann
            REASSIGN OWNED BY ann TO bob
            REVOKE TOKENS FROM ann
            SHOW ROLES
            SHOW GRANTS FOR ann
            SHOW AUDIT LIMIT 7
            SHOW SECRETS"#]],
    );
}

#[test]
fn privileges_are_on_what_they_are_for() {
    check(
        &[
            "GRANT SELECT ON t TO ann",
            "GRANT SELECT, CONTROL ON MATERIALIZED VIEW a, b TO ann, PUBLIC",
            "GRANT ALL PRIVILEGES ON TABLE t TO ann",
            "GRANT USAGE ON CONNECTOR files, postgres TO ann",
            "GRANT USAGE ON SECRET s TO ann",
            "GRANT CREATE ON SCHEMA tidemill.public TO ann",
            "GRANT CONTROL ON JOB v TO ann",
            "REVOKE INSERT ON SINK k FROM ann",
            "GRANT readers, writers TO ann",
            "REVOKE readers FROM ann",
            "GRANT USAGE ON t TO ann",
            "GRANT SELECT ON SCHEMA other TO ann",
            "GRANT CONTROL ON JOB 7 TO ann",
            "GRANT EAT ON t TO ann",
            "GRANT SELECT ON t TO ann WITH GRANT OPTION",
            "GRANT SELECT ON DATABASE d TO ann",
        ],
        expect![[r#"
            GRANT SELECT ON t TO ann
            GRANT SELECT, CONTROL ON a, b TO ann, public
            GRANT ALL ON t TO ann
            GRANT USAGE ON CONNECTOR files, CONNECTOR postgres TO ann
            GRANT USAGE ON SECRET s TO ann
            GRANT CREATE ON SCHEMA public TO ann
            GRANT CONTROL ON v TO ann
            REVOKE INSERT ON k FROM ann
            GRANT readers, writers TO ann
            REVOKE readers FROM ann
            error: there is no USAGE on t; SELECT, INSERT, PREDICT, CONTROL can be granted
            error: line 1, column 24: another schema is not supported; all objects are in the schema public
            error: line 1, column 18: a privilege on a job's number is not supported; a job's number is another one tomorrow; name what it makes
            error: line 1, column 7: expected ALL, SELECT, INSERT, PREDICT, CONTROL, USAGE, CREATE, found EAT
            error: line 1, column 26: WITH GRANT OPTION is not supported; the owner and superusers grant; leave it out
            error: line 1, column 17: expected TABLE, SOURCE, VIEW, SINK, MODEL, JOB, CONNECTOR, SECRET, SCHEMA, or a name, found DATABASE"#]],
    );
}

#[test]
fn passwords_and_secrets_are_in_no_text_and_no_error() {
    check(
        &[
            "CREATE SECRET s AS 'hush'",
            "CREATE OR REPLACE SECRET s AS E'hush'",
            "DROP SECRET IF EXISTS s",
            "CREATE SECRET s 'hush'",
            "CREATE SECRET s AS hush",
            "CREATE USER ann PASSWORD = 'hush'",
            "CREATE USER ann PASSWORD hush",
        ],
        expect![[r#"
            CREATE SECRET s AS '***'
            CREATE OR REPLACE SECRET s AS '***'
            DROP SECRET IF EXISTS s
            error: line 1, column 17: expected AS and the secret, in quotes, behind its name
            error: line 1, column 20: expected the secret, in quotes, found a word
            error: line 1, column 26: expected the password, in quotes, found something else
            error: line 1, column 26: expected the password, in quotes, found a word"#]],
    );
    let parsed = parse_script("CREATE USER ann PASSWORD 'hush'; CREATE SECRET s AS 'hush'").unwrap();
    assert!(!format!("{parsed:?}").contains("hush"), "{parsed:?}");
    assert_eq!(parsed[1].text(), "CREATE SECRET s AS '***'");
}

#[test]
fn an_option_may_be_a_secret() {
    let sink = "CREATE SINK p (a BIGINT) WITH (connector = 'postgres', url = SECRET pg);";
    let mut session = Session::interactive(Default::default());
    session.set_secrets([String::from("pg")].into());
    execute(&mut session, sink).unwrap();
    let plan = execute(&mut session, "EXPLAIN INSERT INTO p VALUES (1); SHOW CREATE p").unwrap();
    let plan = plan.iter().map(shown).collect::<String>();
    assert!(plan.contains("url = SECRET pg"), "{plan}");
    let unknown = execute(&mut session, &sink.replace("pg", "pq").replace("SINK p", "SINK q")).unwrap_err().to_string();
    assert_eq!(unknown, "line 1, column 31: there is no secret 'pq'; there are: pg");
}

#[test]
fn scripts_have_no_users() {
    let refused = execute(&mut session(), "CREATE ROLE r").unwrap_err().to_string();
    assert!(refused.contains("a coordinator such as tidemill serve"), "{refused}");
}
