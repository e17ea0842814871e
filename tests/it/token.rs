//! `flowkit token`, as the administrator runs it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A deployment that has secrets and nothing else.
struct Sandbox(TempDir);

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

const ROLE: &str =
    "analyst=run,get_result,admin3:spatial_aggregate:spatial_aggregate,admin3:spatial_aggregate:daily_location";

impl Sandbox {
    fn new() -> Sandbox {
        let root = tempfile::Builder::new().prefix("fk").tempdir().unwrap();
        // Others must be able to come by: root works as the owner of what isn't root's.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let sandbox = Sandbox(root);
        let secrets = sandbox.path("state/secrets");
        let mut command = Command::new(crate::support::programs::flowkit());
        command.env_clear().args(["secrets", "init", "--role", "flowauth", "--role", "flowapi", "--dir"]).arg(secrets);
        assert!(command.output().unwrap().status.success());
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `flowkit token WHAT ...` with something to read.
    fn run(&self, what: &str, args: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(crate::support::programs::flowkit());
        command.env_clear().current_dir(self.0.path()).args(["token", what]).args(args);
        command.args(["--dir", "state"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may have refused its arguments, and gone, before this is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn make(&self, args: &[&str]) -> String {
        let made = self.run("make", &[&["--user", "alice"], args].concat(), "");
        assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
        made.stdout
    }

    fn shown(&self, args: &[&str], token: &str) -> (Option<i32>, Value) {
        let shown = self.run("show", &[&["--format", "json"], args].concat(), token);
        (shown.code, serde_json::from_str(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {}", shown.stderr)))
    }

    fn secret(&self, name: &str) -> String {
        fs::read_to_string(self.path("state/secrets").join(name)).unwrap()
    }
}

#[test]
fn a_token_says_what_it_was_made_for() {
    let sandbox = Sandbox::new();
    let days = ["--last-day", "2016-03-31", "--role-days", "viewer=2016-01-01.."];
    let token = sandbox
        .make(&[&["--role", ROLE, "--role", "viewer=get_available_dates", "--lifetime", "30d"], &days[..]].concat());
    let shown = sandbox.run("show", &[], &token);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    let (made, ends) = (lines[2].strip_prefix("made   ").unwrap(), lines[3].strip_prefix("ends   ").unwrap());
    assert!(made.contains(" ago") && ends.contains("in 29 days") | ends.contains("in 30 days"), "{made} {ends}");
    assert_eq!(lines[..2], ["user   alice", "server flowapi_server"]);
    assert_eq!(
        lines[5..],
        [
            "data   up to 2016-03-31",
            "role   analyst may run queries, fetch results",
            "       at admin3:",
            "         spatial_aggregate of daily_location",
            "role   viewer may list the days of data, data from 2016-01-01 to 2016-03-31",
            "FlowAPI would let it in",
        ]
    );
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let everything = format!("{token}{}", shown.stdout);
    let key = sandbox.secret("PRIVATE_JWT_SIGNING_KEY");
    assert!(key.lines().skip(1).all(|line| !everything.contains(line)), "the private key is never shown");
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let sandbox = Sandbox::new();
    let token = sandbox.make(&["--role", ROLE]);
    let wrong = |sandbox: &Sandbox, args: &[&str], token: &str| {
        let (code, shown) = sandbox.shown(args, token);
        assert_eq!(code, Some(1));
        shown["wrong"].clone()
    };
    assert_eq!(wrong(&sandbox, &["--audience", "other"], &token), json!(["Invalid audience"]));
    assert_eq!(wrong(&Sandbox::new(), &[], &token), json!(["Signature verification failed"]));
    let short = sandbox.make(&["--role", ROLE, "--lifetime", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(wrong(&sandbox, &[], &short), json!(["Token has expired"]));

    let none = sandbox.run("show", &[], "eyJ.x");
    assert_eq!(
        (none.code, none.stderr.as_str()),
        (Some(1), "flowkit: this is no token of FlowKit: Not enough segments\n")
    );
    let idle = sandbox.run("make", &["--user", "bob", "--role", "a=run"], "");
    let note = "note: role \"a\" may run or fetch, but holds no kind of query: roles are never put together\n";
    assert_eq!((idle.code, idle.stderr.as_str()), (Some(0), note));
}

#[test]
fn a_token_is_written_for_its_maker_alone_and_never_over_another_file() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.make(&["--role", ROLE, "--out", "t.jwt"]), "");
    let mode = fs::metadata(sandbox.path("t.jwt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = fs::read_to_string(sandbox.path("t.jwt")).unwrap();
    assert_eq!(sandbox.run("show", &["t.jwt"], "").code, Some(0));
    let again = sandbox.run("make", &["--user", "alice", "--role", ROLE, "--out", "t.jwt"], "");
    assert_eq!((again.code, again.stdout.as_str()), (Some(2), ""));
    assert_eq!(fs::read_to_string(sandbox.path("t.jwt")).unwrap(), token);
}

#[test]
fn a_servers_document_names_it_and_its_scopes() {
    let sandbox = Sandbox::new();
    let scopes = ["run", "get_result", "admin2:flows:flows", "admin3:flows:daily_location", "admin3:flows:flows"];
    let token = json!({ "x-audience": "there", "x-security-scopes": scopes });
    let document = json!({ "components": { "securitySchemes": { "token": token } } });
    fs::write(sandbox.path("openapi.json"), document.to_string()).unwrap();
    fs::write(sandbox.path("roles.json"), json!({ "flows": ["run", "admin3:*:*"] }).to_string()).unwrap();
    let with = ["--openapi", "openapi.json"];
    let made = sandbox.make(&[&with[..], &["--role", "all=*", "--roles-file", "roles.json"]].concat());
    let (code, shown) = sandbox.shown(&["--audience", "there"], &made);
    assert_eq!((code, &shown["servers"]), (Some(0), &json!(["there"])));
    let mut all = scopes;
    all.sort_unstable();
    assert_eq!(shown["roles"][0]["scopes"], json!(all));
    assert_eq!(shown["roles"][1]["scopes"], json!(["admin3:flows:daily_location", "admin3:flows:flows", "run"]));
    for (args, said) in [
        (
            vec!["--role", "a=admin9:*:*", with[0], with[1]],
            "flowkit: the server has no such scope: \"admin9:*:*\"; its list is in its openapi.json\n",
        ),
        (
            vec!["--role", "a=*"],
            "flowkit: a * stands for scopes of a server: \"*\"; give its document: --openapi openapi.json\n",
        ),
        (vec![], "flowkit: a token without a role allows nothing; give --role NAME=SCOPE,...\n"),
    ] {
        let refused = sandbox.run("make", &[&["--user", "alice"], &args[..]].concat(), "");
        assert_eq!((refused.code, refused.stderr.as_str()), (Some(2), said));
    }
}

/// A file that never ends would take all memory.
#[test]
fn no_file_is_read_beyond_its_bounds() {
    let sandbox = Sandbox::new();
    for given in [["--roles-file", "/dev/zero"], ["--openapi", "/dev/zero"]] {
        let refused = sandbox.run("make", &[&["--user", "alice", "--role", "all=*"], &given[..]].concat(), "");
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("a file has more than 4194304 bytes"), "{}", refused.stderr);
    }
}

/// Upstream's maker of tokens makes one that we take, and upstream's readers take ours: PyJWT as FlowAPI's token library asks
/// it (RS256 alone, audience, no leeway), then the generator's own reader of roles.
#[test]
fn tokens_of_both_sides_are_good_on_the_other() {
    const SCRIPT: &str = "
import datetime, json, sys
import jwt
from flowkit_jwt_generator.jwt import decompress_claims, generate_token, load_public_key
public, private, token = (open(name).read() for name in sys.argv[1:4])
claims = jwt.decode(token.strip(), load_public_key(public), algorithms=['RS256'], audience='flowapi_server', leeway=0)
assert claims.get('type', 'access') == 'access', claims
print(json.dumps([claims['sub'], decompress_claims(claims['user_claims'])]))
print(generate_token(flowapi_identifier='flowapi_server', flowauth_identifier='FLOWAUTH', username='bob', private_key=private,
                     lifetime=datetime.timedelta(hours=1), roles={'analyst': ['run', 'nonspatial:x:x']}))
";
    let sandbox = Sandbox::new();
    sandbox.make(&["--role", ROLE, "--last-day", "2016-03-31", "--out", "t.jwt"]);
    let mut command = Command::new(crate::support::flowapi::python());
    command.env_clear().args(["-I", "-W", "ignore", "-c", SCRIPT]);
    let keys =
        ["PUBLIC_JWT_SIGNING_KEY", "PRIVATE_JWT_SIGNING_KEY"].map(|name| sandbox.path("state/secrets").join(name));
    let output = command.args(keys).arg(sandbox.path("t.jwt")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let (ours, theirs) = printed.trim().split_once('\n').unwrap();
    let mut scopes: Vec<&str> = ROLE.split_once('=').unwrap().1.split(',').collect();
    scopes.sort_unstable();
    assert_eq!(serde_json::from_str::<Value>(ours).unwrap(), json!(["alice", { "analyst": scopes }]));
    let (code, shown) = sandbox.shown(&[], theirs);
    assert_eq!((code, &shown["user"], &shown["issuer"]), (Some(0), &json!("bob"), &json!("FLOWAUTH")));
    assert_eq!(shown["roles"][0]["scopes"], json!(["nonspatial:x:x", "run"]));
}
