//! What is kept.

use std::collections::BTreeSet;

use flowauth::store::audit::{self, Actor};
use flowauth::store::roles::Which;
use flowauth::store::tokens::{Carried, Made};
use flowauth::store::{
    Address, Change, Store, attempts, factors, now, roles, sealed, servers, sessions, tokens, users,
};
use serde_json::json;

use crate::{on_both, open};

on_both!(
    nothing_is_kept_without_its_line_in_the_log,
    the_log_is_only_added_to,
    who_writes_waits_for_who_writes,
    a_server_that_loses_scopes_takes_them_from_no_role,
    a_token_stays_in_the_books_when_its_user_and_server_go,
    a_step_is_taken_once,
    failures_cost_time,
    a_session_ends_for_good,
    every_sealed_column_is_sealed_anew,
    a_newer_database_is_refused,
);

/// Reading the past, an instance that waited for another would not see what that has changed.
#[tokio::test]
async fn what_others_have_committed_is_read_whatever_the_databases_default_is() {
    let server = postgres_rig::Server::start();
    let address = crate::postgres::database(&server, "strict");
    let strict = "ALTER DATABASE strict SET default_transaction_isolation = 'repeatable read'";
    sqlx::query(strict).execute(&mut *open(&address).await.read().await.unwrap()).await.unwrap();
    let mut change = open(&address).await.change().await.unwrap();
    let isolation: String = sqlx::query_scalar("SHOW transaction_isolation").fetch_one(&mut *change).await.unwrap();
    assert_eq!(isolation, "read committed");
}

async fn commit(change: Change, action: &'static str) {
    change.commit(&Actor::program().does(action, "x", json!({}))).await.unwrap();
}

async fn user(store: &Store, name: &str) -> i64 {
    let mut change = store.change().await.unwrap();
    let wanted = users::Wanted { name: name.to_owned(), ..users::Wanted::default() };
    let id = users::add(&mut change, &wanted, None).await.unwrap();
    commit(change, "user.add").await;
    id
}

async fn server(store: &Store, name: &str, scopes: &[&str]) -> i64 {
    let mut change = store.change().await.unwrap();
    let wanted = servers::Wanted { name: name.to_owned(), latest_expiry: None, longest_minutes: 60 };
    let id = servers::add(&mut change, &wanted).await.unwrap();
    let difference = servers::compare(&mut change, id, &names(scopes)).await.unwrap();
    servers::apply(&mut change, id, &difference).await.unwrap();
    commit(change, "server.add").await;
    id
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn nothing_is_kept_without_its_line_in_the_log(address: Address) {
    let store = open(&address).await;
    let mut change = store.change().await.unwrap();
    let wanted = users::Wanted { name: "ann".to_owned(), is_admin: true, ..users::Wanted::default() };
    users::add(&mut change, &wanted, Some("hash")).await.unwrap();
    drop(change);
    let mut db = store.read().await.unwrap();
    assert!(users::all(&mut db).await.unwrap().is_empty());
    assert!(audit::before(&mut db, i64::MAX, 10).await.unwrap().is_empty());

    let mut change = store.change().await.unwrap();
    let id = users::add(&mut change, &wanted, Some("hash")).await.unwrap();
    let actor = Actor {
        user: Some((7, "root".to_owned())),
        address: "10.0.0.1".to_owned(),
        request: "r1".to_owned(),
        known: None,
    };
    change.commit(&actor.does("user.add", "ann", json!({"is_admin": true}))).await.unwrap();
    drop(db);
    store.close().await;

    // Another instance reads the same.
    let store = open(&address).await;
    let mut db = store.read().await.unwrap();
    let (ann, hash) = users::named(&mut db, "ann").await.unwrap().unwrap();
    assert_eq!((ann.id, ann.is_admin, ann.has_factor, ann.disabled_at), (id, true, false, None));
    assert_eq!(hash.as_deref(), Some("hash"));
    let lines = audit::before(&mut db, i64::MAX, 10).await.unwrap();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((line.actor.as_deref(), &*line.action, &*line.object), (Some("root"), "user.add", "ann"));
    assert_eq!((&line.detail, &*line.address, &*line.request), (&json!({"is_admin": true}), "10.0.0.1", "r1"));
    drop(db);
    let mut change = store.change().await.unwrap();
    assert!(users::add(&mut change, &wanted, None).await.unwrap_err().is_taken());
}

async fn the_log_is_only_added_to(address: Address) {
    let store = open(&address).await;
    user(&store, "ann").await;
    for text in ["UPDATE audit SET actor = 'somebody else'", "DELETE FROM audit"] {
        let mut db = store.read().await.unwrap();
        let error = sqlx::query(text).execute(&mut *db).await.unwrap_err().to_string();
        assert!(error.contains("only added to"), "{error}");
    }
    let mut db = store.read().await.unwrap();
    assert_eq!(audit::before(&mut db, i64::MAX, 10).await.unwrap().len(), 1);
}

/// What a transaction has read is still true when it writes: here, that nobody else is there yet.
async fn who_writes_waits_for_who_writes(address: Address) {
    let store = open(&address).await;
    let tasks = (0..6).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut change = store.change().await.unwrap();
            if users::all(&mut change).await.unwrap().is_empty() {
                let wanted = users::Wanted { name: format!("user{number}"), ..users::Wanted::default() };
                users::add(&mut change, &wanted, None).await.unwrap();
                commit(change, "user.add").await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let mut db = store.read().await.unwrap();
    assert_eq!(users::all(&mut db).await.unwrap().len(), 1);
}

async fn a_server_that_loses_scopes_takes_them_from_no_role(address: Address) {
    let store = open(&address).await;
    let id = server(&store, "here", &["run", "admin3:flows", "old"]).await;
    let mut change = store.change().await.unwrap();
    let scopes = servers::scopes(&mut change, id).await.unwrap();
    let of =
        |wanted: &[&str]| scopes.iter().filter(|s| wanted.contains(&&*s.name)).map(|s| s.id).collect::<BTreeSet<_>>();
    let wanted =
        roles::Wanted { name: "a".to_owned(), longest_minutes: 5, scopes: of(&["run", "old"]), ..Default::default() };
    let role = roles::add(&mut change, id, &wanted).await.unwrap();
    commit(change, "role.add").await;

    let mut change = store.change().await.unwrap();
    let difference = servers::compare(&mut change, id, &names(&["run", "new"])).await.unwrap();
    assert_eq!(difference.added, names(&["new"]));
    let gone: Vec<(&str, usize)> = difference.gone.iter().map(|(name, roles)| (&**name, roles.len())).collect();
    assert_eq!(gone, [("admin3:flows", 0), ("old", 1)]);
    assert_eq!(difference.gone["old"], ["a"]);
    servers::apply(&mut change, id, &difference).await.unwrap();
    commit(change, "server.scopes").await;

    let mut db = store.read().await.unwrap();
    let now: Vec<(String, bool)> =
        servers::scopes(&mut db, id).await.unwrap().into_iter().map(|s| (s.name, s.is_withdrawn)).collect();
    assert_eq!(now, [("new".to_owned(), false), ("old".to_owned(), true), ("run".to_owned(), false)]);
    assert_eq!(roles::find(&mut db, role).await.unwrap().unwrap().wanted, wanted, "the role still has it");
    assert_eq!(roles::scope_names(&mut db, role).await.unwrap(), names(&["run"]), "new tokens have not");
    drop(db);

    let mut change = store.change().await.unwrap();
    let difference = servers::compare(&mut change, id, &names(&["run", "new", "old"])).await.unwrap();
    assert_eq!((difference.added.len(), difference.gone.len(), &difference.back), (0, 0, &names(&["old"])));
    servers::apply(&mut change, id, &difference).await.unwrap();
    assert_eq!(roles::scope_names(&mut change, role).await.unwrap(), names(&["old", "run"]));
}

async fn a_token_stays_in_the_books_when_its_user_and_server_go(address: Address) {
    let store = open(&address).await;
    let (ann, here) = (user(&store, "ann").await, server(&store, "here", &["run"]).await);
    let mut change = store.change().await.unwrap();
    let wanted = roles::Wanted { name: "a".into(), longest_minutes: 5, members: [ann].into(), ..Default::default() };
    let role = roles::add(&mut change, here, &wanted).await.unwrap();
    let made = Made {
        name: "mine".to_owned(),
        jti: "id".to_owned(),
        sealed: "sealed".to_owned(),
        user: Some(ann),
        user_name: "ann".to_owned(),
        server: Some(here),
        server_name: "here".to_owned(),
        issued_at: now(),
        expires_at: now() + 600,
    };
    let carried = [Carried { id: Some(role), name: "a".to_owned(), chosen: Some(names(&["run", "x"])) }];
    let token = tokens::add(&mut change, &made, &carried).await.unwrap();
    commit(change, "token.mint").await;
    let mut db = store.read().await.unwrap();
    let listed = tokens::of_user(&mut db, ann, here).await.unwrap();
    assert_eq!(listed, [tokens::Token { id: token, made: made.clone(), revoked_at: None, roles: carried.into() }]);
    assert_eq!(servers::of_user(&mut db, ann).await.unwrap().len(), 1);
    drop(db);

    let mut change = store.change().await.unwrap();
    assert_eq!(tokens::revoke_of_user(&mut change, ann).await.unwrap(), 1);
    assert_eq!(tokens::revoke_of_server(&mut change, here).await.unwrap(), 0, "once is enough");
    users::remove(&mut change, ann).await.unwrap();
    servers::remove(&mut change, here).await.unwrap();
    commit(change, "user.remove").await;
    let mut db = store.read().await.unwrap();
    let kept = tokens::find(&mut db, token).await.unwrap().unwrap();
    assert_eq!((kept.made.user, kept.made.server, &*kept.made.user_name), (None, None, "ann"));
    assert!(kept.revoked_at.is_some() && kept.roles[0].id.is_none() && kept.roles[0].name == "a");
    assert!(roles::some(&mut db, Which::All).await.unwrap().is_empty());
    assert_eq!(tokens::revoked(&mut db, now()).await.unwrap(), names(&["id"]));
    assert_eq!(tokens::revoked(&mut db, now() + 601).await.unwrap(), names(&[]), "it has ended by itself");
}

async fn a_step_is_taken_once(address: Address) {
    let store = open(&address).await;
    let ann = user(&store, "ann").await;
    let mut change = store.change().await.unwrap();
    factors::enable(&mut change, ann, "sealed", 100).await.unwrap();
    factors::replace_codes(&mut change, ann, &["one".to_owned(), "two".to_owned()]).await.unwrap();
    assert!(users::find(&mut change, ann).await.unwrap().unwrap().has_factor);
    commit(change, "factor.enable").await;
    let take = async |step| {
        let mut change = store.change().await.unwrap();
        let taken = factors::take_step(&mut change, ann, step).await.unwrap();
        commit(change, "sign-in").await;
        taken
    };
    let taken = [take(100).await, take(99).await, take(102).await, take(102).await, take(101).await, take(103).await];
    assert_eq!(taken, [false, false, true, false, false, true]);
    let mut change = store.change().await.unwrap();
    let codes = factors::codes(&mut change, ann).await.unwrap();
    assert_eq!(codes.iter().map(|(_, code)| &**code).collect::<Vec<_>>(), ["one", "two"]);
    assert!(factors::take_code(&mut change, codes[0].0).await.unwrap());
    assert!(!factors::take_code(&mut change, codes[0].0).await.unwrap());
    factors::disable(&mut change, ann).await.unwrap();
    assert!(factors::codes(&mut change, ann).await.unwrap().is_empty());
    assert!(!users::find(&mut change, ann).await.unwrap().unwrap().has_factor);
}

async fn failures_cost_time(address: Address) {
    let store = open(&address).await;
    let mut db = store.read().await.unwrap();
    for _ in 0..3 {
        assert_eq!(attempts::count(&mut db, "ann", 3).await.unwrap(), Ok(()));
    }
    // The fourth failure starts the wait. However slow this machine is, some attempt falls into one: each is twice as long.
    let mut waits = 0;
    for _ in 0..12 {
        if let Err(seconds) = attempts::count(&mut db, "ann", 3).await.unwrap() {
            assert!((1..=900).contains(&seconds), "{seconds}");
            waits += 1;
        }
    }
    assert!(waits > 0);
    assert_eq!(attempts::count(&mut db, "bob", 3).await.unwrap(), Ok(()), "each for himself");
    attempts::forget(&mut db, "ann").await.unwrap();
    assert_eq!(attempts::count(&mut db, "ann", 3).await.unwrap(), Ok(()));
    // An hour later it is as if nothing had been.
    sqlx::query("UPDATE attempts SET last_at = last_at - 3700, failures = 50 WHERE who = 'ann'")
        .execute(&mut *db)
        .await
        .unwrap();
    assert_eq!(attempts::count(&mut db, "ann", 3).await.unwrap(), Ok(()));
    assert_eq!(attempts::count(&mut db, "ann", 3).await.unwrap(), Ok(()));
    sqlx::query("UPDATE attempts SET last_at = last_at - 3700 WHERE who = 'bob'").execute(&mut *db).await.unwrap();
    attempts::sweep(&mut db).await.unwrap();
    let left = sqlx::query("SELECT who FROM attempts").fetch_all(&mut *db).await.unwrap();
    assert_eq!(left.len(), 1, "ann's");
}

async fn a_session_ends_for_good(address: Address) {
    let store = open(&address).await;
    let (ann, bob) = (user(&store, "ann").await, user(&store, "bob").await);
    let mut change = store.change().await.unwrap();
    for (id, user, complete) in [("a1", ann, true), ("a2", ann, false), ("b1", bob, true)] {
        sessions::begin(&mut change, id, user, "10.0.0.1", complete).await.unwrap();
    }
    commit(change, "sign-in").await;
    let find = async |id: &str| {
        let mut db = store.read().await.unwrap();
        sessions::find(&mut db, id).await.unwrap().map(|session| (session.user.id, session.is_complete))
    };
    assert_eq!([find("a1").await, find("a2").await, find("no").await], [Some((ann, true)), Some((ann, false)), None]);
    let mut change = store.change().await.unwrap();
    sessions::end_others(&mut change, ann, Some("a1")).await.unwrap();
    commit(change, "password").await;
    assert_eq!([find("a1").await, find("a2").await, find("b1").await], [Some((ann, true)), None, Some((bob, true))]);
    let mut change = store.change().await.unwrap();
    sessions::end(&mut change, "a1").await.unwrap();
    let wanted = users::Wanted { name: "bob".to_owned(), is_disabled: true, ..users::Wanted::default() };
    users::change(&mut change, bob, &wanted).await.unwrap();
    commit(change, "sign-out").await;
    assert_eq!([find("a1").await, find("b1").await], [None, None], "who is disabled is out at once");

    // One that nobody used for too long, and one that is simply old.
    let mut db = store.read().await.unwrap();
    for (id, created, seen) in [("idle", 1500, 1500), ("old", 13 * 3600, 10), ("fresh", 30, 10)] {
        sqlx::query(
            "INSERT INTO sessions (id, user_id, created_at, seen_at, address, complete) VALUES ($1, $2, $3, $4, '', 1)",
        )
        .bind(id)
        .bind(ann)
        .bind(now() - created)
        .bind(now() - seen)
        .execute(&mut *db)
        .await
        .unwrap();
    }
    drop(db);
    for swept in [false, true] {
        assert_eq!([find("idle").await, find("old").await, find("fresh").await], [None, None, Some((ann, true))]);
        let mut change = store.change().await.unwrap();
        let rows =
            sqlx::query("SELECT id FROM sessions WHERE id IN ('idle', 'old', 'fresh')").fetch_all(&mut *change).await;
        assert_eq!(rows.unwrap().len(), if swept { 1 } else { 3 });
        sessions::sweep(&mut change).await.unwrap();
        commit(change, "sweep").await;
    }
}

async fn every_sealed_column_is_sealed_anew(address: Address) {
    let store = open(&address).await;
    let (ann, here) = (user(&store, "ann").await, server(&store, "here", &[]).await);
    let mut change = store.change().await.unwrap();
    factors::enable(&mut change, ann, "old", 0).await.unwrap();
    factors::replace_codes(&mut change, ann, &["old".to_owned(), "new".to_owned()]).await.unwrap();
    let pending = factors::Pending { reference: "r".into(), secret: Some("old".into()), codes: "old".into() };
    factors::propose(&mut change, ann, &pending).await.unwrap();
    let made = Made { sealed: "old".into(), user: Some(ann), server: Some(here), ..Made::default() };
    let token = tokens::add(&mut change, &made, &[]).await.unwrap();
    let count = sealed::replace_all(&mut change, |text| (text == "old").then(|| "new".to_owned())).await.unwrap();
    assert_eq!(count, 5);
    assert_eq!(factors::secret(&mut change, ann).await.unwrap().as_deref(), Some("new"));
    let pending = factors::pending(&mut change, ann).await.unwrap().unwrap();
    assert_eq!((pending.secret.as_deref(), &*pending.codes), (Some("new"), "new"));
    assert_eq!(tokens::find(&mut change, token).await.unwrap().unwrap().made.sealed, "new");
    assert!(factors::codes(&mut change, ann).await.unwrap().iter().all(|(_, code)| code == "new"));
}

async fn a_newer_database_is_refused(address: Address) {
    let store = open(&address).await;
    let mut db = store.read().await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 1000 WHERE version = 2").execute(&mut *db).await.unwrap();
    drop(db);
    store.close().await;
    let error = Store::open(&address).await.err().unwrap();
    assert!(format!("{error:?}").contains("1000"), "{error:?}");
}
