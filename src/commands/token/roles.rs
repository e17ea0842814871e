//! Roles and scopes as they are typed or stand in files, and the scopes that a server says it has.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::Failure;
use flowkit_core::config::Problem;

/// A role with its scopes.
pub type Role = (String, Vec<String>);

/// The longest file of roles, or of a server's scopes, in bytes: FlowAPI's document has 90 kB.
const LONGEST: u64 = 4 << 20;

/// `NAME=SCOPE,SCOPE,…`.
pub fn role(text: &str) -> Result<Role, String> {
    let form = "give it as NAME=SCOPE,SCOPE, such as analyst=run,get_result,admin3:flows:flows";
    let (name, scopes) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(form)?;
    let scopes: Vec<String> =
        scopes.split(',').map(|scope| scope.trim().to_owned()).filter(|scope| !scope.is_empty()).collect();
    if scopes.is_empty() { Err(form.into()) } else { Ok((name.to_owned(), scopes)) }
}

/// A JSON object of lists, as upstream's generator is given it.
pub fn file(path: &Path) -> Result<Vec<Role>, Failure> {
    let json = read(path)?;
    let role = |(name, scopes): (&String, &Value)| {
        let scopes = scopes.as_array()?.iter().map(|scope| scope.as_str().map(str::to_owned));
        Some((name.clone(), scopes.collect::<Option<Vec<_>>>()?))
    };
    let roles = json.as_object().and_then(|roles| roles.iter().map(role).collect::<Option<Vec<_>>>());
    roles.ok_or_else(|| {
        mistake("the file of roles is no JSON object of lists of scopes", path, "write it as {\"NAME\": [\"SCOPE\"]}")
    })
}

/// What an OpenAPI document of FlowAPI says of its tokens.
pub struct Server {
    /// Its name, the audience of its tokens.
    pub audience: String,
    scopes: BTreeSet<String>,
}

impl Server {
    /// Reads `openapi.json`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let json = read(path)?;
        let token = &json["components"]["securitySchemes"]["token"];
        let scopes = token["x-security-scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let scopes: BTreeSet<String> = scopes.map(str::to_owned).collect();
        match token["x-audience"].as_str() {
            Some(audience) if !scopes.is_empty() => Ok(Self { audience: audience.to_owned(), scopes }),
            _ => Err(mistake(
                "no FlowAPI has written this",
                path,
                "get it from https://HOST:9090/api/0/spec/openapi.json",
            )),
        }
    }

    fn matching(&self, pattern: &str) -> Vec<String> {
        self.scopes.iter().filter(|scope| matching(scope, pattern)).cloned().collect()
    }
}

/// Whether a scope is one that a pattern means, in which a `*` stands for any part, and alone for all scopes.
pub fn matching(scope: &str, pattern: &str) -> bool {
    let (parts, wanted) = (scope.split(':'), pattern.split(':'));
    let fits = parts.clone().zip(wanted.clone()).all(|(part, want)| want == "*" || part == want);
    pattern == "*" || parts.count() == wanted.count() && fits
}

/// Every scope by its own name: patterns are looked up in the server's list, and so is every other, where there is one.
pub fn spelt_out(roles: Vec<Role>, server: Option<&Server>) -> Result<Vec<Role>, Failure> {
    let scopes = |scope: String| match server {
        Some(server) => match server.matching(&scope) {
            none if none.is_empty() => {
                let problem = Problem::new("the server has no such scope", "its list is in its openapi.json");
                Err(Failure::mistake(problem.value(scope)))
            }
            found => Ok(found),
        },
        None if scope.contains('*') => {
            let problem =
                Problem::new("a * stands for scopes of a server", "give its document: --openapi openapi.json");
            Err(Failure::mistake(problem.value(scope)))
        }
        None => Ok(vec![scope]),
    };
    let role = |(name, all): Role| {
        let found = all.into_iter().map(scopes).collect::<Result<Vec<_>, _>>()?;
        Ok((name, found.concat()))
    };
    roles.into_iter().map(role).collect()
}

fn read(path: &Path) -> Result<Value, Failure> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut text))
        .map_err(|error| mistake(&format!("a file can't be read: {error}"), path, "name another"))?;
    if text.len() as u64 > LONGEST {
        return Err(mistake(&format!("a file has more than {LONGEST} bytes"), path, "name another"));
    }
    serde_json::from_slice(&text)
        .map_err(|error| mistake(&format!("a file is not JSON: {error}"), path, "name another"))
}

fn mistake(what: &str, path: &Path, hint: &str) -> Failure {
    Failure::mistake(Problem::new(what, hint).value(path.display().to_string()))
}
