//! The pages without script: forms as a browser sends them.

use std::time::SystemTime;

use access::Revocations;
use flowauth::codes;
use flowauth::store::audit::Actor;
use flowauth::store::{Address, now, users};
use serde_json::json;
use web::test::Answer;

use crate::on_both;
use crate::rig::{Browser, PASSWORD, Rig, verifier};

on_both!(
    from_the_first_sign_in_to_a_token_by_forms,
    a_second_factor_by_forms,
    what_is_refused_is_said_beside_the_field,
    an_administrator_looks_after_users_and_roles_by_forms,
    a_role_has_a_light_page_whatever_the_number_of_users,
);

/// What a page says between two texts, or from the first on.
fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let rest = page.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {page}")).1;
    rest.split_once(after).map_or(rest, |(found, _)| found)
}

/// Where a form has sent the browser.
fn sent(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").unwrap().to_owned()
}

async fn page(browser: &mut Browser, path: &str) -> String {
    let answer = browser.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text().to_owned()
}

async fn sign_in(rig: &Rig, name: &str) -> Browser {
    let mut browser = rig.browser();
    let answer = browser.form("/sign-in", &[("username", name), ("password", PASSWORD)]).await;
    assert_eq!(sent(&answer), "/");
    browser
}

pub fn specification(audience: &str, scopes: &[&str]) -> String {
    let token = json!({ "x-audience": audience, "x-security-scopes": scopes });
    json!({ "components": { "securitySchemes": { "token": token } } }).to_string()
}

async fn from_the_first_sign_in_to_a_token_by_forms(address: Address) {
    let rig = Rig::start(&address).await;
    let nobody = rig.browser().get("/manage/users").await;
    assert_eq!(sent(&nobody), "/sign-in?next=%2Fmanage%2Fusers");
    let mut root = sign_in(&rig, "root").await;
    assert!(page(&mut root, "/").await.contains("href=\"/manage/servers/new\""), "what to do first");

    let file =
        specification("here", &["run", "get_result", "admin3:flows:flows", "admin3:flows:x", "admin10:flows:flows"]);
    let fields = [("spec-upload-button", &*file), ("max-life", "2"), ("max-life-unit", "60"), ("latest", "")];
    let server = sent(&root.upload("/manage/servers/new", &fields).await);
    let server = server.split_once('?').unwrap().0.rsplit_once('/').unwrap().1.to_owned();
    let editor = page(&mut root, &format!("/manage/roles/new?server={server}")).await;
    assert!(editor.contains("admin10"));

    // Without script a branch is ticked by the server, and nothing is saved by that.
    let mut fields =
        vec![("server", &*server), ("name", "analyst"), ("lifetime", "30"), ("lifetime-unit", "1"), ("tick", "admin3")];
    let drafted = root.form("/manage/roles/new", &fields).await;
    assert_eq!((drafted.status.as_u16(), drafted.text().matches("checked").count()), (200, 2), "{}", drafted.text());
    let ids: Vec<String> = drafted
        .text()
        .split("name=\"s\" value=\"")
        .skip(1)
        .filter(|rest| rest.split('>').next().unwrap().contains("checked"))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    fields.pop();
    fields.extend(ids.iter().map(|id| ("s", &**id)));
    fields.extend([("first_day", "2016-01-01"), ("last_day", "")]);
    assert_eq!(sent(&root.form("/manage/roles/new", &fields).await), "/manage/roles?done=role-added");

    // A user gets a link, which works once.
    let users = page(&mut root, "/manage/users/new").await;
    let role = between(&users, "name=\"role\" value=\"", "\"").to_owned();
    let added = root.form("/manage/users/new", &[("username", "ann"), ("role", &role)]).await;
    let link = format!("/invitation/{}", between(added.text(), "/invitation/", "<"));
    let mut ann = rig.browser();
    assert!(page(&mut ann, &link).await.contains("ann"));
    let choose = [("newPasswordA", PASSWORD), ("newPasswordB", PASSWORD)];
    let weak = ann.form(&link, &[("newPasswordA", "password"), ("newPasswordB", "password")]).await;
    assert!(weak.status == 400 && weak.text().contains("too easily guessed"), "{}", weak.text());
    let measured = ann.form(&link, &[("measure", PASSWORD)]).await.json();
    assert_eq!(measured["score"], 4);
    assert_eq!(sent(&ann.form(&link, &choose).await), "/sign-in?done=invited");
    assert_eq!(ann.form(&link, &choose).await.status, 404, "once");

    let mut ann = sign_in(&rig, "ann").await;
    let at = format!("/my/servers/{server}");
    assert!(page(&mut ann, "/").await.contains(&at));
    assert!(page(&mut ann, &at).await.contains("id=\"new\""));
    let ask = page(&mut ann, &format!("{at}/new")).await;
    assert!(ask.contains("2 scopes") && ask.contains("Data from 2016-01-01"), "{ask}");
    let part = format!("part-{role}");
    let fields = [("name", "nightly"), ("role", &*role), (&*part, "admin3:flows"), ("lifetime_minutes", "")];
    let made = sent(&ann.form(&format!("{at}/new"), &fields).await);
    let made = made.split_once('?').unwrap().0.to_owned();
    let shown = page(&mut ann, &made).await;
    let text = between(between(&shown, "id=\"token\"", "</textarea>"), ">", "<");
    let token = verifier("here").verify(text, SystemTime::now()).unwrap();
    assert_eq!((&*token.user, token.expires.unwrap() - token.issued.unwrap()), ("ann", 1800));
    assert_eq!(token.roles[0].scopes.len(), 2);
    let file = ann.get(&format!("{made}/download")).await;
    assert_eq!((file.text(), file.header("content-disposition")), (text, Some("attachment; filename=\"nightly.txt\"")));
    assert!(!page(&mut ann, &at).await.contains("eyJ"), "a list shows no token");

    let renewed = sent(&ann.form(&format!("{made}/renew"), &[("lifetime_minutes", "10")]).await);
    assert!(renewed != made && renewed.contains("done=token-renewed"));
    assert_eq!(sent(&ann.form(&format!("{made}/revoke"), &[]).await), format!("{at}?done=token-revoked"));
    let list = rig.browser().get("/revocations").await;
    let list = Revocations::parse(list.text(), &verifier("here"), SystemTime::now()).unwrap();
    assert!(list.check(&token).is_err());
    assert!(page(&mut root, "/manage/tokens").await.contains("of ann, for here"));

    // Another file: seen first, then applied; the role keeps what is gone.
    let file = specification("here", &["run", "admin3:flows:x", "new", "with a blank"]);
    let compared =
        root.upload(&format!("/manage/servers/{server}/specification"), &[("spec-upload-button", &file)]).await;
    assert!(
        compared.text().contains("in analyst") && compared.text().contains("<code>new</code>"),
        "{}",
        compared.text()
    );
    let scopes = between(compared.text(), "name=\"scopes\" value=\"", "\"").to_owned();
    let applied = root.form(&format!("/manage/servers/{server}/apply"), &[("scopes", &scopes)]).await;
    assert_eq!(sent(&applied), format!("/manage/servers/{server}?done=scopes"));
    let editor = page(&mut root, &format!("/manage/roles/{role}")).await;
    assert!(editor.contains("no longer on the server") && editor.contains(">with a blank</label>"), "{editor}");

    // The log, filtered and taken away.
    let log = page(&mut root, "/manage/audit?user=ANN&action=token.mint&object=").await;
    assert!(log.contains("nightly") && !log.contains("<td>server added"), "{log}");
    let csv = root.get("/manage/audit/export?form=csv&user=ann").await;
    assert!(csv.text().starts_with("id,at,user") && csv.text().contains("\"token.mint\",\"nightly\""));
    let lines = root.get("/manage/audit/export?form=jsonl&user=100%25").await;
    assert_eq!(lines.text(), "", "a sign in what is looked for means itself");

    let out = root.form("/sign-out", &[]).await;
    assert_eq!(sent(&out), "/sign-in?done=signed-out");
    assert_eq!(root.get("/").await.status, 303);
}

async fn a_second_factor_by_forms(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = sign_in(&rig, "root").await;
    rig.user(&mut root, "ann", json!({ "require_two_factor": true })).await;
    let mut ann = sign_in(&rig, "ann").await;
    assert_eq!(sent(&ann.get("/").await), "/account/two-factor", "nothing else until it is set up");
    assert_eq!(sent(&ann.form("/account/two-factor", &[]).await), "/account/two-factor/set-up");
    let shown = page(&mut ann, "/account/two-factor/set-up").await;
    assert!(shown.contains("<svg"), "a picture to scan");
    let secret: String = between(&shown, "id=\"secret\">", "<").split(' ').collect();
    let reference = between(&shown, "name=\"reference\" value=\"", "\"").to_owned();
    let backup = between(&shown, "data-cy=\"backup_code\">", "<").to_owned();
    assert_eq!(ann.get("/account/two-factor/backup-codes").await.text().lines().count(), 16);
    let code = |ahead: u64| codes::code(&secret, now().unsigned_abs() + 30 * ahead).unwrap();
    let path = "/account/two-factor/set-up";
    let wrong = ann.form(path, &[("reference", &reference), ("auth_code", "000000x")]).await;
    assert!(wrong.status == 401 && wrong.text().contains("href=\"#auth_code\""), "{}", wrong.text());
    let right = ann.form(path, &[("reference", &reference), ("auth_code", &code(0))]).await;
    assert_eq!(sent(&right), "/account/two-factor?done=factor");
    ann.form("/sign-out", &[]).await;

    let halfway = async || {
        let mut browser = rig.browser();
        let next = browser.form("/sign-in", &[("username", "ann"), ("password", PASSWORD), ("next", "/account")]).await;
        assert_eq!(sent(&next), "/sign-in/code?next=%2Faccount");
        assert_eq!(sent(&browser.get("/").await), "/sign-in?next=%2F", "the password alone opens nothing");
        assert!(page(&mut browser, "/sign-in/code").await.contains("id=\"two_factor_code\""));
        browser
    };
    let used = code(1);
    let mut browser = halfway().await;
    browser.careful = false;
    assert_eq!(browser.form("/sign-in/code", &[("two_factor_code", &used)]).await.status, 403, "a forged form");
    browser.careful = true;
    let next = browser.form("/sign-in/code", &[("two_factor_code", &used), ("next", "/account")]).await;
    assert_eq!(sent(&next), "/account");
    assert_eq!(browser.get("/account").await.status, 200);
    let mut again = halfway().await;
    let refused = again.form("/sign-in/code", &[("two_factor_code", &used)]).await;
    assert!(refused.status == 401 && refused.text().contains("was used already"), "{}", refused.text());
    assert!(backup.contains('-'));
    assert_eq!(sent(&again.form("/sign-in/code", &[("two_factor_code", &backup)]).await), "/");
    let refused = again.form("/account/two-factor/disable", &[]).await;
    assert!(refused.status == 403 && refused.text().contains("An administrator requires"), "{}", refused.text());
    // Backup codes anew.
    sent(&again.form("/account/two-factor/new-codes", &[]).await);
    let shown = page(&mut again, path).await;
    let reference = between(&shown, "name=\"reference\" value=\"", "\"").to_owned();
    let done = again.form("/account/two-factor/use-codes", &[("reference", &reference)]).await;
    assert_eq!(sent(&done), "/account/two-factor?done=codes");
}

async fn what_is_refused_is_said_beside_the_field(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = sign_in(&rig, "root").await;
    for (path, fields, field, says) in [
        ("/sign-in", &[("username", "root"), ("password", "x")][..], "username", "Username or password is wrong"),
        (
            "/account/password",
            &[("oldPassword", "x"), ("newPasswordA", "y"), ("newPasswordB", "z")],
            "newPasswordB",
            "not the same",
        ),
        (
            "/account/password",
            &[("oldPassword", PASSWORD), ("newPasswordA", "y"), ("newPasswordB", "y")],
            "newPasswordA",
            "easily guessed",
        ),
        ("/account/keys", &[("name", "x"), ("days", "401")], "days", "1 to 400 days"),
        ("/manage/users/new", &[("username", "root")], "username", "This name is taken"),
        ("/manage/users/1", &[("username", "root")], "is_admin", "the last one who can sign in"),
        ("/manage/servers/new", &[("max-life", "x"), ("spec-upload-button", "{}")], "spec-upload-button", "x-audience"),
    ] {
        let answer = root.form(path, fields).await;
        let text = answer.text();
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        assert!(text.contains("id=\"error-dialog\"") && text.contains(&format!("href=\"#{field}\"")), "{path}: {text}");
        assert!(text.contains(says), "{path}: {text}");
    }
    let french = rig.browser().get("/sign-in?lang=fr").await;
    assert!(french.text().contains("Se connecter") && french.header("set-cookie").unwrap().starts_with("lang=fr"));
    let policy = french.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    // A page of another site.
    let mut browser = rig.browser();
    browser.headers.push(("sec-fetch-site", "cross-site"));
    assert_eq!(browser.form("/sign-in", &[("username", "root"), ("password", PASSWORD)]).await.status, 403);
    // A browser is told in words what programs are told in JSON.
    root.headers.push(("accept", "text/html"));
    let missing = root.get("/manage/users/999").await;
    assert!(missing.status == 404 && missing.text().starts_with("<!DOCTYPE html>"), "{}", missing.text());
}

async fn an_administrator_looks_after_users_and_roles_by_forms(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = sign_in(&rig, "root").await;
    let ann = rig.user(&mut root, "ann", json!({})).await;
    let (server, scopes) = rig.server(&mut root, "here", &["run", "x:y:z"]).await;
    let (server, run, ann_id) = (server.to_string(), scopes["run"].to_string(), ann.to_string());
    let fields = [("server", &*server), ("name", "analyst"), ("lifetime", "10"), ("lifetime-unit", "1"), ("s", &*run)];
    let longer: Vec<_> =
        fields.iter().copied().map(|(name, value)| (name, if name == "lifetime" { "61" } else { value })).collect();
    let refused = root.form("/manage/roles/new", &longer).await;
    assert!(refused.status == 400 && refused.text().contains("href=\"#lifetime\""), "{}", refused.text());
    assert!(refused.text().contains(&format!("value=\"{run}\" checked")), "what was ticked stays ticked");
    sent(&root.form("/manage/roles/new", &fields).await);
    // Members by the role's page, rights by the user's.
    let fields: Vec<_> = fields.into_iter().chain([("m", &*ann_id), ("last_day", "2016-01-31")]).collect();
    assert_eq!(sent(&root.form("/manage/roles/1", &fields).await), "/manage/roles?done=saved");
    let at = format!("/manage/users/{ann}");
    let change = [("username", "ann"), ("role", "1"), ("is_admin", "yes")];
    assert_eq!(sent(&root.form(&at, &change).await), "/manage/users?done=saved");
    let shown = root.ok("GET", &format!("/admin/users/{ann}"), json!(null)).await;
    assert_eq!((&shown["is_admin"], &shown["roles"][0]["name"]), (&json!(true), &json!("analyst")));
    // Pages that were opened before somebody else gave a role take nothing of it.
    let has = async |root: &mut Browser| root.ok("GET", "/roles/1", json!(null)).await["users"].clone();
    sent(&root.form(&at, &[("username", "ann"), ("is_admin", "yes")]).await);
    assert_eq!(has(&mut root).await, json!([ann]));
    sent(&root.form("/manage/roles/1", &fields[..fields.len() - 2]).await);
    assert_eq!(has(&mut root).await, json!([ann]));
    // And where it was there, an empty box takes it.
    assert_eq!(between(&page(&mut root, &at).await, "name=\"had\" value=\"", "\""), "1");
    sent(&root.form(&at, &[("username", "ann"), ("is_admin", "yes"), ("had", "1")]).await);
    assert_eq!(has(&mut root).await, json!([]));
    sent(&root.form(&at, &change).await);

    let mut browser = sign_in(&rig, "ann").await;
    let made = sent(
        &browser.form(&format!("/my/servers/{server}/new"), &[("name", "t"), ("role", "1"), ("part-1", "run")]).await,
    );
    assert!(page(&mut browser, &made).await.contains("eyJ"));
    sent(&root.form("/manage/roles/1/revoke", &[]).await);
    assert!(page(&mut root, "/manage/tokens").await.contains("There are none"));

    // A new link: the password of before is worth nothing once it is taken.
    let link = root.form(&format!("{at}/invite"), &[]).await;
    let link = format!("/invitation/{}", between(link.text(), "/invitation/", "<"));
    let new = "another-Purple-dishwasher-92";
    sent(&rig.browser().form(&link, &[("newPasswordA", new), ("newPasswordB", new)]).await);
    assert_eq!(sent(&browser.get("/").await), "/sign-in?next=%2F", "whoever was in with the old one is out");
    let old = rig.browser().form("/sign-in", &[("username", "ann"), ("password", PASSWORD)]).await;
    assert_eq!(old.status, 401);

    for (state, status, says) in [("disabled", 401, "user-disabled"), ("enabled", 303, "user-enabled")] {
        assert_eq!(sent(&root.form(&format!("{at}/state"), &[("state", state)]).await), format!("{at}?done={says}"));
        let answer = rig.browser().form("/sign-in", &[("username", "ann"), ("password", new)]).await;
        assert_eq!(answer.status, status, "{state}");
    }
    // A link of somebody who is disabled meanwhile is none.
    let link = root.form(&format!("{at}/invite"), &[]).await;
    let link = format!("/invitation/{}", between(link.text(), "/invitation/", "<"));
    root.form(&format!("{at}/state"), &[("state", "disabled")]).await;
    assert_eq!(rig.browser().get(&link).await.status, 404);
    let refused = root.form(&format!("{at}/invite"), &[]).await;
    assert!(refused.status == 400 && refused.text().contains("enable them first"), "{}", refused.text());

    assert!(page(&mut root, &format!("{at}/remove")).await.contains("Remove the user ann?"));
    assert_eq!(sent(&root.form(&format!("{at}/remove"), &[]).await), "/manage/users?done=user-removed");
    assert_eq!(root.form("/manage/users/1/remove", &[]).await.status, 400, "the last administrator stays");
    sent(&root.form("/manage/roles/1/remove", &[]).await);
    sent(&root.form(&format!("/manage/servers/{server}/remove"), &[]).await);
    assert!(page(&mut root, "/").await.contains("href=\"/manage/servers/new\""), "as at the beginning");

    // A key is shown once.
    let made = root.form("/account/keys", &[("name", "nightly"), ("days", "30"), ("may", "administer")]).await;
    let mut program = rig.browser();
    program.key = Some(between(between(made.text(), "id=\"key\"", "</textarea>"), ">", "<").to_owned());
    assert_eq!(program.get("/admin/users").await.status, 200, "{}", made.text());
    assert!(!page(&mut root, "/account/keys").await.contains(program.key.as_deref().unwrap()));
    sent(&root.form("/account/keys/1/remove", &[]).await);
    assert_eq!(program.get("/admin/users").await.status, 401);
    // Everywhere else.
    let mut other = sign_in(&rig, "root").await;
    assert_eq!(sent(&root.form("/account/sessions/end", &[]).await), "/account?done=sessions");
    assert_eq!((other.get("/").await.status.as_u16(), root.get("/").await.status.as_u16()), (303, 200));
}

/// With more users than its page has boxes for, a role's members are found by name, on a page of their own.
async fn a_role_has_a_light_page_whatever_the_number_of_users(address: Address) {
    let rig = Rig::start(&address).await;
    let mut root = rig.signed_in("root").await;
    // As many as a real FlowAPI has.
    let scopes: Vec<String> = (0..628).map(|n| format!("admin{}:spatial_aggregate:query_kind_{n}", n % 4)).collect();
    let names: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let (server, ids) = rig.server(&mut root, "here", &names).await;
    let role = json!({ "name": "a", "server_id": server, "scopes": ids.values().collect::<Vec<_>>(), "longest_token_life_minutes": 10 });
    root.ok("POST", "/roles/", role).await;
    let add = async |from: usize, to: usize| {
        let mut change = rig.store.change().await.unwrap();
        for number in from..to {
            let wanted = users::Wanted { name: format!("analyst{number:04}"), ..users::Wanted::default() };
            users::add(&mut change, &wanted, None).await.unwrap();
        }
        change.commit(&Actor::program().does("user.add", "x", json!({}))).await.unwrap();
    };
    add(0, 14).await;
    let with_boxes = page(&mut root, "/manage/roles/1").await;
    assert!(with_boxes.contains("id=\"m-15\"") && !with_boxes.contains("/manage/roles/1/members"));
    add(14, 1000).await;
    let apart = page(&mut root, "/manage/roles/1").await;
    assert!(apart.contains("href=\"/manage/roles/1/members\"") && !apart.contains("id=\"m-"));
    let members = page(&mut root, "/manage/roles/1/members").await;
    // With style and script these are 22 kB more.
    let heaviest = with_boxes.len().max(apart.len()).max(members.len());
    assert!(heaviest < 75_000, "{heaviest} bytes");
    assert_eq!(members.matches("name=\"m\"").count(), 50);
    assert!(members.contains("members?find=&amp;from=50"));

    let users = page(&mut root, "/manage/users").await;
    assert!(users.len() < 75_000, "{} bytes", users.len());
    assert!(users.contains("href=\"/manage/users?find=&amp;from=50\"") && !users.contains("data-filter"));
    let users = page(&mut root, "/manage/users?find=LYST099&from=0").await;
    assert_eq!(users.matches(">analyst099").count(), 10);
    assert!(!page(&mut root, "/manage/users?find=nobody").await.contains("analyst"));

    let found = page(&mut root, "/manage/roles/1/members?find=LYST099").await;
    assert_eq!(found.matches("name=\"m\"").count(), 10);
    let id = between(&found, "name=\"m\" value=\"", "\"").to_owned();
    let at = "/manage/roles/1/members?find=lyst099&from=0";
    assert_eq!(sent(&root.form(at, &[("m", &*id)]).await), format!("{at}&done=saved"));
    let found = page(&mut root, "/manage/roles/1/members?find=LYST099").await;
    assert_eq!(between(&found, "name=\"had\" value=\"", "\""), id);
    let has = async |root: &mut Browser| root.ok("GET", "/roles/1", serde_json::Value::Null).await["users"].clone();
    assert_eq!(has(&mut root).await.to_string(), format!("[{id}]"));
    // The role's own form says nothing of them.
    let first = ids.values().next().unwrap().to_string();
    let form = [("name", "a"), ("s", &*first), ("lifetime", "10"), ("lifetime-unit", "1"), ("members-apart", "yes")];
    sent(&root.form("/manage/roles/1", &form).await);
    assert_eq!(has(&mut root).await.to_string(), format!("[{id}]"));
    sent(&root.form(at, &[("had", &*id)]).await);
    assert_eq!(has(&mut root).await.to_string(), "[]");
    // Of a new one they are chosen next.
    let new = [
        ("server", "1"),
        ("name", "b"),
        ("s", &*first),
        ("lifetime", "10"),
        ("lifetime-unit", "1"),
        ("members-apart", "yes"),
    ];
    assert!(sent(&root.form("/manage/roles/new", &new).await).starts_with("/manage/roles/2/members?"));
}
