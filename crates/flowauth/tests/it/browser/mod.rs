//! The pages in Chromium: what administrators and users do, step by step, with script. On every page that they come by: axe finds nothing,
//! light and dark; nothing is wider than a phone; all of it weighs less than 100 kB; and pictures are kept in `target/pages`.

mod driver;
mod visit;

use std::path::PathBuf;
use std::time::SystemTime;

use access::Revocations;
use driver::Chromium;
use flowauth::codes;
use flowauth::store::{Address, now};
use serde_json::{Value, json};
use visit::{Visit, axe};

use crate::pages::specification;
use crate::rig::{PASSWORD, Rig, verifier};

/// Keys that have no letter.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// As many scopes as a real FlowAPI has, and as long.
fn many() -> Vec<String> {
    let mut scopes: Vec<String> =
        ["run", "get_result", "get_available_dates", "get_geography"].map(str::to_owned).into();
    for unit in ["admin0", "admin1", "admin2", "admin3", "lon-lat", "nonspatial"] {
        for kind in 0..26 {
            scopes
                .extend((0..4).map(|part| format!("{unit}:aggregate_of_kind_{kind}:unique_subscriber_counts_{part}")));
        }
    }
    scopes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_do_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(&Address::File(dir.path().join("flowauth.sqlite"))).await;
    let pictures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/pages");
    std::fs::create_dir_all(&pictures).unwrap();
    let axe = std::fs::read_to_string(axe()).expect("axe-core; run `make setup-tests`");
    let chromium = Chromium::start().await;
    chromium.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": axe })).await;
    // Secure cookies are kept for `localhost` without TLS as well.
    let origin = format!("http://localhost:{}", rig.address.port());
    let mut visit = Visit { chromium: &chromium, origin, pictures, weights: Vec::new(), wrong: Vec::new() };

    let files = files(dir.path());
    let link = an_administrator_begins(&mut visit, &files[0]).await;
    a_user_gets_a_token(&mut visit, &rig, &link).await;
    a_second_factor(&mut visit).await;
    a_passkey(&mut visit).await;
    an_administrator_goes_on(&mut visit, &files[1]).await;
    std::fs::write(visit.pictures.join("weights.tsv"), visit.weights.concat()).unwrap();
    assert!(visit.wrong.is_empty(), "{}", visit.wrong.join("\n"));
    chromium.quit().await;
}

/// What a FlowAPI gives, before and after its upgrade.
fn files(dir: &std::path::Path) -> [String; 2] {
    let mut scopes = many();
    [1, 2].map(|number| {
        let path = dir.join(format!("openapi{number}.json"));
        let names: Vec<&str> = scopes.iter().map(String::as_str).collect();
        std::fs::write(&path, specification("here", &names)).unwrap();
        scopes.retain(|scope| !scope.contains("kind_7:"));
        scopes.push("admin3:aggregate_of_kind_99:new".to_owned());
        path.display().to_string()
    })
}

/// From the first sign-in to a link for a user, by what the pages say to do next.
async fn an_administrator_begins(visit: &mut Visit<'_>, file: &str) -> String {
    let chromium = visit.chromium;
    visit.open("/").await;
    chromium.see("Sign in").await;
    visit.look("sign-in").await;
    visit.finds_what_is_wrong().await;
    visit.open("/").await;
    chromium.see("Sign in").await;
    chromium.fill("#username", "root").await;
    chromium.fill("#password", "wrong").await;
    chromium.press(ENTER).await;
    chromium.until("return document.activeElement.id === 'error-dialog'").await;
    visit.look("sign-in-refused").await;
    visit.sign_in("root").await;
    chromium.see("My servers").await;
    visit.look("first-steps").await;
    chromium.press(TAB).await;
    let skips = chromium.run("return document.activeElement.getAttribute('href')").await.unwrap();
    assert_eq!(skips, "#main", "the first that the keyboard reaches leads past the navigation");

    chromium.click(".steps .next a").await;
    chromium.see("New server").await;
    visit.look("server-new").await;
    chromium.fill("#spec-upload-button", file).await;
    chromium.click("main form .main").await;
    chromium.see("Server here").await;
    assert!(chromium.text(".done").await.contains("make a role"));
    visit.look("server").await;

    visit.open("/").await;
    chromium.click(".steps .next a").await;
    chromium.see("New role for here").await;
    visit.look("role-new").await;
    chromium.fill("#name", "analyst").await;
    for action in ["run", "get_result"] {
        chromium.run(&format!("[...document.querySelectorAll('.tree > ul > li > label')].find((l) => l.textContent.trim() === '{action}').click()")).await.unwrap();
    }
    chromium.fill("[type=search]", "admin3 kind_7:").await;
    chromium.until("return document.querySelectorAll('.tree label').length - document.querySelectorAll('.tree li[hidden] label').length === 4").await;
    chromium.click("details[open] > button.small").await;
    assert_eq!(chromium.run("return document.querySelectorAll('.tree input:checked').length").await.unwrap(), 6);
    chromium.fill("#lifetime", "2").await;
    chromium.click("main form .main").await;
    chromium.see("Roles").await;
    visit.look("roles").await;

    visit.open("/").await;
    chromium.click(".steps .next a").await;
    chromium.see("New user").await;
    chromium.fill("#username", "ann").await;
    chromium.click("[name=role]").await;
    visit.look("user-new").await;
    chromium.click("main form .main").await;
    chromium.see("A link for ann").await;
    visit.look("user-link").await;
    let link = chromium.text("#link").await;
    assert!(link.starts_with(&visit.origin), "{link}");
    visit.sign_out().await;
    link
}

async fn a_user_gets_a_token(visit: &mut Visit<'_>, rig: &Rig, link: &str) {
    let chromium = visit.chromium;
    chromium.open(link).await;
    chromium.see("Choose your password").await;
    chromium.fill("#newPasswordA", "password").await;
    chromium.until("return document.querySelector('.meter').dataset.score === '0'").await;
    chromium.fill("#newPasswordA", PASSWORD).await;
    chromium.until("return document.querySelector('.meter').dataset.score === '4'").await;
    visit.look("invitation").await;
    chromium.fill("#newPasswordB", PASSWORD).await;
    chromium.press(ENTER).await;
    chromium.see("Sign in").await;
    visit.sign_in("ann").await;
    chromium.see("My servers").await;
    visit.look("my-servers").await;
    chromium.click(".cards a").await;
    chromium.see("Tokens for here").await;
    visit.look("tokens-none").await;
    chromium.click("#new").await;
    chromium.see("New token for here").await;
    visit.look("token-new").await;
    chromium.fill("#name", "nightly").await;
    chromium.fill("#lifetime_minutes", "90").await;
    chromium.click("main form .main").await;
    chromium.until("return document.activeElement.id === 'error-dialog'").await;
    assert!(chromium.text("#lifetime_minutes-wrong").await.contains("longer than the roles allow"));
    visit.look("token-new-refused").await;
    chromium.fill("#lifetime_minutes", "1").await;
    chromium.click("main form .main").await;
    chromium.see("Token “nightly”").await;
    visit.look("token").await;
    let token = verifier("here").verify(chromium.text("#token").await.trim(), SystemTime::now()).unwrap();
    assert_eq!((&*token.user, token.roles[0].scopes.len()), ("ann", 6));

    chromium.click("a[href$='/renew']").await;
    chromium.see("Renew the token").await;
    chromium.click("main form .main").await;
    chromium.see("Token “nightly”").await;
    let renewed = verifier("here").verify(chromium.text("#token").await.trim(), SystemTime::now()).unwrap();
    assert_ne!(renewed.id, token.id);
    chromium.click("a[href$='/revoke']").await;
    chromium.see("Revoke the token").await;
    visit.look("token-revoke").await;
    chromium.click("main button.danger").await;
    chromium.see("Tokens for here").await;
    visit.look("tokens").await;
    let list = rig.browser().get("/revocations").await;
    let list = Revocations::parse(list.text(), &verifier("here"), SystemTime::now()).unwrap();
    assert!(list.check(&renewed).is_err() && list.check(&token).is_ok());
}

async fn a_second_factor(visit: &mut Visit<'_>) {
    let chromium = visit.chromium;
    chromium.click("#user_details").await;
    chromium.see("Your account").await;
    visit.look("account").await;
    visit.open("/account/keys").await;
    visit.look("keys").await;
    visit.open("/account/password").await;
    visit.look("password").await;
    visit.open("/account/two-factor").await;
    chromium.click("#enable_two_factor").await;
    chromium.see("Set up two-factor authentication").await;
    visit.look("two-factor-set-up").await;
    let secret: String = chromium.text("#secret").await.split(' ').collect();
    let backup = chromium.text("[data-cy=backup_code]").await;
    // A step that was not used is taken for a minute, and asked for when it is typed.
    let code = |ahead: u64| codes::code(&secret, now().unsigned_abs() + 30 * ahead).unwrap();
    chromium.fill("#auth_code", &code(0)).await;
    chromium.press(ENTER).await;
    chromium.see("Two-factor authentication").await;
    assert!(chromium.text(".done").await.contains("is on"));
    visit.look("two-factor").await;
    visit.sign_out().await;

    visit.sign_in("ann").await;
    chromium.see("Enter your code").await;
    visit.look("sign-in-code").await;
    let used = code(1);
    chromium.fill("#two_factor_code", &used).await;
    chromium.click("#signin-button").await;
    chromium.see("My servers").await;
    visit.sign_out().await;
    visit.sign_in("ann").await;
    chromium.see("Enter your code").await;
    chromium.fill("#two_factor_code", &used).await;
    chromium.click("#signin-button").await;
    chromium.until("return document.activeElement.id === 'error-dialog'").await;
    assert!(chromium.text("#error-dialog-description").await.contains("was used already"));
    chromium.fill("#two_factor_code", &backup).await;
    chromium.click("#signin-button").await;
    chromium.see("My servers").await;
    visit.open("/manage/users").await;
    chromium.see("That did not work").await;
    visit.look("not-allowed").await;
    visit.open("/").await;
    visit.sign_out().await;
}

/// With an authenticator of Chromium's own.
async fn a_passkey(visit: &mut Visit<'_>) {
    let chromium = visit.chromium;
    visit.sign_in("root").await;
    chromium.see("My servers").await;
    visit.open("/account/two-factor").await;
    // As browsers say it when nothing is there, nobody touches it, or it is called off: after minutes, if they are let.
    let nothing = "navigator.credentials.create = () => Promise.reject(new DOMException('', 'NotAllowedError'))";
    chromium.run(nothing).await.unwrap();
    chromium.click("#add_passkey").await;
    chromium.until("return !document.querySelector('[data-say=failed]').hidden").await;
    visit.look("passkey-failed").await;
    visit.open("/account/two-factor").await;
    let authenticator = chromium.authenticator().await;
    chromium.fill("#passkey-name", "phone").await;
    chromium.click("#add_passkey").await;
    chromium.until("return !!document.querySelector('.done')").await;
    assert!(chromium.text(".done").await.contains("The passkey is added"));
    visit.look("passkeys").await;
    chromium.click("#add_passkey").await;
    chromium.until("return !document.querySelector('[data-say=known]').hidden").await;
    visit.sign_out().await;

    visit.sign_in("root").await;
    chromium.see("One more step").await;
    visit.look("sign-in-passkey").await;
    chromium.click("#passkey-button").await;
    chromium.see("My servers").await;
    visit.open("/manage/users").await;
    visit.look("users-passkey").await;
    visit.open("/account/two-factor").await;
    chromium.click("a[href$='/remove']").await;
    chromium.see("Remove the passkey “phone”?").await;
    visit.look("passkey-remove").await;
    chromium.click("main button.danger").await;
    chromium.until("return !!document.querySelector('.done')").await;
    chromium.no_authenticator(&authenticator).await;
    // Without script there are no passkeys, and the page says so.
    chromium.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    visit.open("/account/two-factor").await;
    chromium.until("return !!document.querySelector('noscript .note')").await;
    chromium.picture(&visit.pictures.join("passkeys-without-script.png")).await;
    chromium.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await;
    visit.open("/").await;
    visit.sign_out().await;
}

async fn an_administrator_goes_on(visit: &mut Visit<'_>, file: &str) {
    let chromium = visit.chromium;
    visit.sign_in("root").await;
    chromium.see("My servers").await;
    for (id, heading, name) in [
        ("user_list", "Users", "users"),
        ("server_list", "Servers", "servers"),
        ("public_key", "Public key", "public-key"),
    ] {
        chromium.click(&format!("#{id}")).await;
        chromium.see(heading).await;
        visit.look(name).await;
    }
    visit.open("/manage/tokens").await;
    visit.look("all-tokens").await;
    visit.open("/manage/audit").await;
    visit.look("log").await;

    // After an upgrade of the FlowAPI: seen first, then applied, and the role keeps what it had.
    visit.open("/manage/servers/1").await;
    chromium.fill("#spec-upload-button", file).await;
    chromium.click("form[enctype] button").await;
    chromium.see("What changes for here").await;
    visit.look("compare").await;
    chromium.click("main form .main").await;
    chromium.see("Server here").await;
    visit.open("/manage/roles/1").await;
    chromium.see("Role analyst").await;
    let kept = "return document.querySelectorAll('.tree input:checked').length === 6 && document.body.innerText !== ''";
    chromium.until(kept).await;
    // Its many boxes were looked at when they were new.
    chromium.picture(&visit.pictures.join("role-desktop-light.png")).await;

    visit.open("/manage/users").await;
    chromium.click("a[href='/manage/users/2']").await;
    chromium.see("User ann").await;
    visit.look("user").await;
    chromium.click("a[href$='/remove']").await;
    chromium.see("Remove the user ann?").await;
    visit.look("user-remove").await;
    chromium.click("main button.danger").await;
    chromium.see("Users").await;
    assert_eq!(chromium.run("return document.querySelectorAll('.rows li').length").await.unwrap(), 1);

    // A machine and the way to its key; what is told of the deployment; a role's members.
    visit.open("/manage/users/new").await;
    chromium.fill("#username", "nightly").await;
    chromium.click("#is_admin").await;
    chromium.click("#is_machine").await;
    chromium.click("main form .main").await;
    chromium.see("Keys of nightly").await;
    visit.look("machine").await;
    visit.open("/manage/deployment").await;
    chromium.see("The deployment").await;
    visit.look("deployment").await;
    visit.open("/manage/roles/1/members").await;
    chromium.see("Members of analyst").await;
    visit.look("members").await;

    // Everything in the other language, too.
    visit.open("/?lang=fr").await;
    chromium.see("Mes serveurs").await;
    visit.look("french").await;
    assert_eq!(chromium.run("return document.documentElement.lang").await, Ok(Value::from("fr")));
}
