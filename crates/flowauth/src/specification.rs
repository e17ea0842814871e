//! What a server's OpenAPI document says that matters here: its name and its scopes.

use std::collections::BTreeSet;

use serde_json::Value;

/// The most scopes that a server may have, and the longest name of one: upstream's database has the same limit.
const MOST: usize = 20_000;
const LONGEST: usize = 512;

/// Read out of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specification {
    /// The server's name (`x-audience`).
    pub audience: String,
    /// Its scopes (`x-security-scopes`).
    pub scopes: BTreeSet<String>,
}

impl Specification {
    /// Reads a document.
    ///
    /// # Errors
    /// What it lacks, for whoever has uploaded it.
    pub fn read(text: &[u8]) -> Result<Specification, String> {
        let document: Value = serde_json::from_slice(text)
            .map_err(|error| format!("The file is not JSON ({error}). Upload openapi.json."))?;
        let token = &document["components"]["securitySchemes"]["token"];
        let no = |what: &str| format!("The file is not the OpenAPI document of a FlowAPI: it has no {what}.");
        let audience = token["x-audience"].as_str().filter(|name| !name.is_empty()).ok_or_else(|| no("x-audience"))?;
        let scopes = token["x-security-scopes"].as_array().ok_or_else(|| no("x-security-scopes"))?;
        let names: Option<BTreeSet<String>> = scopes.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        let scopes = names.ok_or_else(|| no("x-security-scopes that are all text"))?;
        check_scopes(&scopes)?;
        Ok(Specification { audience: audience.to_owned(), scopes })
    }
}

/// Whether these can be the scopes of a server.
///
/// # Errors
/// What is wrong, for people.
pub fn check_scopes(scopes: &BTreeSet<String>) -> Result<(), String> {
    if scopes.len() > MOST {
        return Err(format!("A server may have {MOST} scopes; these are {}.", scopes.len()));
    }
    let fits = |name: &String| (1..=LONGEST).contains(&name.len()) && !name.chars().any(char::is_control);
    match scopes.iter().find(|name| !fits(name)) {
        None => Ok(()),
        Some(name) => {
            Err(format!("The scope {name:?} has no name that can be used: 1 to {LONGEST} characters in one line."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(audience: Value, scopes: Value) -> Vec<u8> {
        let token = json!({"x-audience": audience, "x-security-scopes": scopes});
        json!({"components": {"securitySchemes": {"token": token}}}).to_string().into_bytes()
    }

    #[test]
    fn name_and_scopes_are_read_and_what_is_missing_is_said() {
        let read = Specification::read(&document(json!("here"), json!(["run", "admin3:flows", "run"]))).unwrap();
        assert_eq!(read.audience, "here");
        assert_eq!(read.scopes.into_iter().collect::<Vec<_>>(), ["admin3:flows", "run"]);
        for (text, says) in [
            (b"openapi: 3.0.1".to_vec(), "not JSON"),
            (b"{}".to_vec(), "x-audience"),
            (b"[]".to_vec(), "x-audience"),
            (document(json!(""), json!([])), "x-audience"),
            (document(json!("here"), json!({})), "x-security-scopes"),
            (document(json!("here"), json!([1])), "all text"),
            (document(json!("here"), json!([""])), "1 to 512"),
            (document(json!("here"), json!(["a\nb"])), "in one line"),
            (document(json!("here"), json!(["x".repeat(513)])), "1 to 512"),
        ] {
            let error = Specification::read(&text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
