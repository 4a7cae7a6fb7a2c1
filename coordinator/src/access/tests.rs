use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tidemill_sql::access::{AccessCommand, RoleLimit};
use tidemill_sql::{Outcome, Session, parse_script};
use tokio::task::JoinSet;

use super::*;
use crate::limits::StatementPlaces;
use crate::meta::JournalStore;
use crate::testing::TestClock;

/// The users of a coordinator that is not there.
struct Users {
    access: Arc<Access>,
    clock: Arc<TestClock>,
    metadata: MetadataHandle,
    _tasks: JoinSet<()>,
}

impl Users {
    async fn new() -> Self {
        let (metadata, task) = MetadataHandle::new(Box::new(JournalStore::in_memory().await.unwrap()));
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        let clock = Arc::new(TestClock::default());
        let config = AccessConfig { validator: Some(Arc::new(Upside)), ..AccessConfig::default() };
        let access = Access::open(config, None, metadata.clone(), Arc::clone(&clock) as _).await.unwrap();
        Self { access: Arc::new(access), clock, metadata, _tasks: tasks }
    }

    async fn with_ann() -> Self {
        let users = Self::new().await;
        assert!(users.access.init_user("ann", "secret").await.unwrap());
        users
    }

    /// Who a header is of, or why it is of nobody.
    async fn who(&self, header: Option<&str>) -> String {
        match self.access.authenticate(header, address()).await {
            Ok(who) => who.role.unwrap_or_else(|| String::from("anybody")),
            Err(error) => error.to_string(),
        }
    }

    /// What a statement of a user comes to; the only object is `t`.
    async fn say(&self, user: &str, sql: &str) -> String {
        let who = Who { role: (!user.is_empty()).then(|| user.to_owned()), address: address() };
        match self.access.carry_out(&who, command(sql), |name| name == "t").await {
            Ok(Told::Done(message)) => message.to_owned(),
            Ok(Told::Rows(rows)) => arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// Takes `user.dlrow`, backwards.
#[derive(Debug)]
struct Upside;

impl TokenValidator for Upside {
    fn user(&self, token: &str, now: Duration) -> Result<String, String> {
        let user = token.strip_suffix(".dlrow").ok_or("it is not backwards")?;
        if now.as_secs() < 1000 { Ok(user.chars().rev().collect()) } else { Err(String::from("it has expired")) }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as requests have it")]
fn address() -> Option<SocketAddr> {
    Some(SocketAddr::from(([10, 0, 0, 1], 1000)))
}

fn command(sql: &str) -> AccessCommand {
    let statements = parse_script(sql).unwrap();
    let mut session = Session::interactive(Default::default());
    match session.execute(&statements[0]).unwrap() {
        Outcome::Access(command) => command,
        other => panic!("{other:?}"),
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn without_users_nobody_is_asked() {
    let users = Users::new().await;
    assert_eq!(users.who(None).await, "anybody");
    assert_eq!(users.who(Some("nonsense")).await, "anybody");
    // Clients that log in all the same are not to fail, nor to be let in later.
    let token = users.access.log_in(Some(&basic("x", "y")), address()).await.unwrap();
    assert_eq!(users.who(Some(&format!("Bearer {token}"))).await, "anybody");
    users.access.init_user("ann", "secret").await.unwrap();
    assert!(users.who(Some(&format!("Bearer {token}"))).await.contains("log in again"));
    let before = Who { role: None, address: address() };
    assert!(users.access.rights(&before).unwrap_err().to_string().contains("log in"));
    assert!(users.access.rights(&Who::LOCAL).unwrap().is_none());
}

#[tokio::test]
async fn passwords_and_tokens_say_who_somebody_is() {
    let users = Users::with_ann().await;
    assert!(users.who(None).await.contains("say who you are"));
    assert!(users.who(Some("Digest x")).await.contains("'Basic', with base64"));
    assert!(users.who(Some("Basic ???")).await.contains("'Basic', with base64"));
    assert_eq!(users.who(Some(&basic("ann", "secret"))).await, "ann");
    let wrong = users.who(Some(&basic("ann", "guess"))).await;
    assert_eq!(wrong, "not logged in: the user or the password is wrong");
    assert_eq!(users.who(Some(&basic("nobody", "guess"))).await, wrong);

    let token = users.access.log_in(Some(&basic("ann", "secret")), address()).await.unwrap();
    let bearer = format!("bearer {token}");
    assert_eq!(users.who(Some(&bearer)).await, "ann");
    users.access.log_out(Some(&bearer));
    assert!(users.who(Some(&bearer)).await.contains("log in again"));

    let bearer = format!("Bearer {}", users.access.log_in(Some(&basic("ann", "secret")), address()).await.unwrap());
    users.clock.advance(TOKEN_LIFETIME - Duration::from_secs(1));
    assert_eq!(users.who(Some(&bearer)).await, "ann");
    users.clock.advance(Duration::from_secs(1));
    assert!(users.who(Some(&bearer)).await.contains("log in again"));
    // A second time it is the password that the user has now which counts.
    assert!(!users.access.init_user("ann", "other").await.unwrap());
    assert_eq!(users.who(Some(&basic("ann", "secret"))).await, "ann");
}

#[tokio::test]
async fn tokens_of_others_are_for_roles_that_are_there() {
    let users = Users::with_ann().await;
    assert_eq!(users.who(Some("Bearer nna.dlrow")).await, "ann");
    assert!(users.who(Some("Bearer bob.dlrow")).await.contains("is wrong"));
    assert!(users.who(Some("Bearer nna.x")).await.contains("it is not backwards"));
    users.clock.advance(Duration::from_secs(1000));
    assert!(users.who(Some("Bearer nna.dlrow")).await.contains("it has expired"));
}

#[tokio::test]
async fn who_guesses_waits() {
    let users = Users::with_ann().await;
    for _ in 0..5 {
        assert!(users.who(Some(&basic("ann", "guess"))).await.contains("is wrong"));
    }
    // Also what would be right; a token is not slowed down.
    assert!(users.who(Some(&basic("ann", "secret"))).await.contains("too many tries"));
    assert_eq!(users.who(Some("Bearer nna.dlrow")).await, "ann");
    users.clock.advance(Duration::from_secs(2));
    assert_eq!(users.who(Some(&basic("ann", "secret"))).await, "ann");
}

#[tokio::test]
async fn what_a_role_may_no_more_holds_at_once() {
    let users = Users::with_ann().await;
    assert_eq!(users.say("ann", "CREATE USER bob PASSWORD 'b' VALID UNTIL '1970-01-01 01:00:00'").await, "CREATE ROLE");
    let basic = basic("bob", "b");
    let bearer = format!("Bearer {}", users.access.log_in(Some(&basic), address()).await.unwrap());
    for statement in ["REVOKE TOKENS FROM bob", "ALTER ROLE bob PASSWORD 'b'"] {
        users.access.tokens.keep(&bearer[7..], "bob", Duration::from_secs(60));
        assert_eq!(users.who(Some(&bearer)).await, "bob");
        users.say("ann", statement).await;
        assert!(users.who(Some(&bearer)).await.contains("log in again"), "{statement}");
        assert_eq!(users.who(Some(&basic)).await, "bob");
    }
    users.say("ann", "ALTER ROLE bob NOLOGIN").await;
    assert!(users.who(Some(&basic)).await.contains("may not log in"));
    users.say("ann", "ALTER ROLE bob LOGIN").await;
    assert_eq!(users.who(Some(&basic)).await, "bob");
    users.clock.advance(Duration::from_secs(3600));
    assert!(users.who(Some(&basic)).await.contains("has expired"));
    users.say("ann", "ALTER ROLE bob VALID UNTIL 'infinity'").await;
    assert_eq!(users.who(Some(&basic)).await, "bob");
    users.say("ann", "DROP ROLE bob").await;
    assert!(users.who(Some(&basic)).await.contains("is wrong"));
}

#[tokio::test]
async fn workers_show_the_secret() {
    let users = Users::new().await;
    assert!(users.access.check_worker(None).is_ok());
    users.access.init_user("ann", "secret").await.unwrap();
    assert!(users.access.check_worker(None).unwrap_err().to_string().contains("--cluster-secret"));
    let secret = ClusterSecret::new("0123456789abcdef");
    let config = AccessConfig { cluster_secret: secret, ..AccessConfig::default() };
    let access = Access::open(config, None, users.metadata.clone(), Arc::clone(&users.clock) as _).await.unwrap();
    assert!(access.check_worker(Some("0123456789abcdef")).is_ok());
    assert!(access.check_worker(Some("0123456789abcdeg")).is_err() && access.check_worker(None).is_err());
}

#[tokio::test]
async fn roles_are_made_by_superusers() {
    let users = Users::new().await;
    let refused = users.say("", "CREATE USER bob PASSWORD 'b'").await;
    assert!(refused.contains("the first user with a password is a SUPERUSER"), "{refused}");
    assert_eq!(users.say("", "CREATE ROLE readers").await, "CREATE ROLE");
    assert_eq!(users.say("", "CREATE USER ann PASSWORD 'a' SUPERUSER").await, "CREATE ROLE");
    users.say("ann", "CREATE USER bob PASSWORD 'b'").await;
    for statement in ["CREATE ROLE x", "DROP ROLE ann", "ALTER ROLE bob SUPERUSER", "GRANT readers TO bob"] {
        let refused = users.say("bob", statement).await;
        assert!(refused.contains("is for superusers"), "{statement}: {refused}");
    }
    assert_eq!(users.say("bob", "ALTER USER bob PASSWORD 'bb'").await, "ALTER ROLE");
    assert!(users.say("bob", "ALTER USER ann PASSWORD 'bb'").await.contains("is for superusers"));
    assert_eq!(users.who(Some(&basic("bob", "bb"))).await, "bob");
    for statement in
        ["DROP ROLE ann", "ALTER ROLE ann NOSUPERUSER", "ALTER ROLE ann NOLOGIN", "ALTER ROLE ann PASSWORD NULL"]
    {
        let refused = users.say("ann", statement).await;
        assert!(refused.contains("the last superuser"), "{statement}: {refused}");
    }
    for (statement, why) in [
        ("CREATE ROLE bob", "already exists"),
        ("CREATE ROLE public", "already exists"),
        ("DROP ROLE carl", "there is no role 'carl'; there are: ann, bob, readers"),
        ("GRANT carl TO bob", "there is no role 'carl'"),
        ("GRANT SELECT ON t TO carl", "there is no role 'carl'"),
        ("GRANT SELECT ON nothing TO bob", "there is no object 'nothing'"),
        ("GRANT USAGE ON CONNECTOR nothing TO bob", "nothing"),
    ] {
        let refused = users.say("ann", statement).await;
        assert!(refused.contains(why), "{statement}: {refused}");
    }
    users.say("ann", "GRANT readers TO bob").await;
    assert!(users.say("ann", "GRANT bob TO readers").await.contains("the other way round"));
    assert_eq!(users.say("ann", "DROP ROLE IF EXISTS carl").await, "the role does not exist");
}

#[tokio::test]
async fn a_role_has_what_its_members_have() {
    let users = Users::with_ann().await;
    for statement in [
        "CREATE USER bob PASSWORD 'b'",
        "CREATE USER carl PASSWORD 'c'",
        "CREATE ROLE readers",
        "GRANT readers TO bob, carl, ann",
        "ALTER ROLE readers SET max_statements = 3",
        "ALTER ROLE bob SET max_statements = 2",
        "ALTER ROLE readers SET max_jobs = 0",
    ] {
        assert!(users.say("ann", statement).await.ends_with("ROLE"), "{statement}");
    }
    let check = |limit, user: &str, held: &[(&str, usize)]| {
        let checked = users.access.check_limit(limit, user, held.iter().copied());
        checked.map_or_else(|error| error.to_string(), |()| String::from("ok"))
    };
    let statements = |user: &str, held: &[(&str, usize)]| check(RoleLimit::Statements, user, held);
    assert_eq!(statements("bob", &[("bob", 1), ("carl", 1), ("dora", 9)]), "ok");
    assert_eq!(
        statements("bob", &[("bob", 2)]),
        "role 'bob' has its 2 statements; wait until some have ended, or a superuser can say ALTER ROLE bob SET \
         max_statements = 4"
    );
    assert!(statements("carl", &[("bob", 2), ("carl", 1)]).contains("role 'readers' has its 3 statements"));
    assert!(check(RoleLimit::Jobs, "carl", &[]).contains("ALTER ROLE readers SET max_jobs = 1"));
    // Somebody has to be able to take a limit back.
    assert_eq!(check(RoleLimit::Jobs, "ann", &[("ann", 7)]), "ok");
    assert!(users.say("bob", "ALTER ROLE bob RESET ALL").await.contains("for superusers"));
    assert!(users.say("ann", "ALTER ROLE dora SET max_jobs = 1").await.contains("there is no role 'dora'"));
    users.say("ann", "ALTER ROLE readers RESET max_statements").await;
    assert_eq!(statements("carl", &[("carl", 7)]), "ok");
    users.say("ann", "ALTER ROLE readers RESET ALL").await;
    assert_eq!(check(RoleLimit::Jobs, "carl", &[("carl", 7)]), "ok");
}

#[tokio::test]
async fn grants_come_and_go_with_roles() {
    let users = Users::with_ann().await;
    for statement in [
        "CREATE USER bob PASSWORD 'b'",
        "CREATE ROLE readers",
        "GRANT readers TO bob",
        "GRANT SELECT, CONTROL ON t TO readers, PUBLIC",
        "GRANT ALL ON t TO bob",
        "REVOKE INSERT ON TABLE t FROM bob",
        "GRANT USAGE ON CONNECTOR files TO bob",
        "GRANT CREATE ON SCHEMA public TO bob",
        "ALTER ROLE readers SET max_statements = 3",
        "ALTER ROLE readers SET max_jobs = 1",
    ] {
        let told = users.say("ann", statement).await;
        assert!(
            ["CREATE ROLE", "ALTER ROLE", "GRANT", "GRANT ROLE", "REVOKE"].contains(&told.as_str()),
            "{statement}: {told}"
        );
    }
    // What is told is what another process would read.
    let again = Access::open(AccessConfig::default(), None, users.metadata.clone(), Arc::clone(&users.clock) as _);
    assert_eq!(again.await.unwrap().roles().held, users.access.roles().held);
    expect_test::expect![[r#"
        +---------+-----------+-----------------+
        | role    | privilege | on              |
        +---------+-----------+-----------------+
        | bob     | CONTROL   | t               |
        | bob     | CREATE    | SCHEMA public   |
        | bob     | PREDICT   | t               |
        | bob     | SELECT    | t               |
        | bob     | USAGE     | CONNECTOR files |
        | public  | CONTROL   | t               |
        | public  | SELECT    | t               |
        | readers | CONTROL   | t               |
        | readers | SELECT    | t               |
        +---------+-----------+-----------------+"#]]
    .assert_eq(&users.say("bob", "SHOW GRANTS").await);
    assert!(users.say("bob", "SHOW GRANTS FOR ann").await.contains("for its members"));
    assert!(users.say("bob", "GRANT SELECT ON t TO readers").await.contains("granted by its owner"));
    expect_test::expect![[r#"
        +---------+-------+-----------+----------+-------------+-----------+----------------+----------+
        | role    | login | superuser | password | valid_until | member_of | max_statements | max_jobs |
        +---------+-------+-----------+----------+-------------+-----------+----------------+----------+
        | ann     | true  | true      | true     |             |           |                |          |
        | bob     | true  | false     | true     |             | readers   |                |          |
        | readers | false | false     | false    |             |           | 3              | 1        |
        +---------+-------+-----------+----------+-------------+-----------+----------------+----------+"#]]
    .assert_eq(&users.say("bob", "SHOW ROLES").await);
    users.say("ann", "DROP ROLE bob").await;
    users.say("ann", "DROP ROLE readers").await;
    expect_test::expect![[r#"
        +--------+-----------+----+
        | role   | privilege | on |
        +--------+-----------+----+
        | public | CONTROL   | t  |
        | public | SELECT    | t  |
        +--------+-----------+----+"#]]
    .assert_eq(&users.say("ann", "SHOW GRANTS").await);
}

#[tokio::test]
async fn a_statement_has_its_place_until_it_is_gone() {
    let users = Users::with_ann().await;
    users.say("ann", "CREATE USER bob PASSWORD 'b'").await;
    users.say("ann", "ALTER USER bob SET max_statements = 1").await;
    let places = StatementPlaces::new(3, Arc::clone(&users.access));
    let who = |role: &str| Who { role: Some(role.to_owned()), address: address() };
    let place = places.take(&who("bob")).unwrap();
    assert!(places.take(&who("bob")).unwrap_err().to_string().contains("role 'bob' has its 1 statements"));
    // What was refused has taken nothing.
    let others = [places.take(&who("ann")).unwrap(), places.take(&Who::LOCAL).unwrap()];
    assert!(places.take(&who("ann")).unwrap_err().to_string().contains("--max-statements"));
    drop(place);
    drop(places.take(&who("bob")).unwrap());
    drop(others);
    assert!(places.take(&who("bob")).is_ok());
}
