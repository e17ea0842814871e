//! What programs may ask, as an OpenAPI document: every route of the table, told of in `openapi.toml` beside this file.

use std::collections::BTreeMap;

use http::{Method, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use web::axum::body::Bytes;
use web::axum::response::IntoResponse as _;

use super::{Answer, Table};
use crate::acts::keys::fits;
use crate::caller::Access;
use crate::store::keys::May;

const PATH: &str = "/openapi.json";

/// Fields and their types.
type Fields = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Told {
    forms: BTreeMap<String, Fields>,
    #[serde(flatten)]
    routes: BTreeMap<String, Route>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    about: String,
    body: Option<Kind>,
    query: Option<Fields>,
    answer: Option<Kind>,
    /// The answer's media type, where it is not JSON.
    kind: Option<String>,
}

/// A type by its name, or an object's fields.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kind {
    Named(String),
    Fields(Fields),
}

fn told() -> Told {
    toml::from_str(include_str!("openapi.toml")).expect("a test reads it")
}

/// Enters the document, of all that is entered by now.
pub fn enter(table: Table) -> Table {
    let own = (Method::GET, PATH, Access::Open);
    let entries = table.entries.iter().filter(|(_, path, _)| !table.is_page(path)).chain([&own]);
    let text = Bytes::from(document(entries).to_string());
    table.get(PATH, Access::Open, move || {
        let answer: Answer = Ok(([(header::CONTENT_TYPE, "application/json")], text.clone()).into_response());
        std::future::ready(answer)
    })
}

fn document<'a>(entries: impl Iterator<Item = &'a (Method, &'static str, Access)>) -> Value {
    let told = told();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (method, path, access) in entries {
        // A test sees that there is one.
        let Some(route) = told.routes.get(&format!("{method} {path}")) else { continue };
        let operation = operation(route, method, path, *access);
        paths.entry(path).or_default().insert(method.as_str().to_lowercase(), operation);
    }
    let forms: BTreeMap<&String, Value> =
        told.forms.iter().map(|(name, fields)| (name, object(fields, true))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FlowAuth",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Users, roles, servers and their tokens. A program shows a key (`Authorization: Bearer flowauth_…`); what a key \
                may is said where it is made, and `x-key-may` says which keys a route takes. A session takes part, too: it sends the \
                cookie X-CSRF back as X-CSRF-Token with whatever changes something.",
        },
        "paths": paths,
        "components": {
            "schemas": forms,
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "session" },
                "csrf": { "type": "apiKey", "in": "header", "name": "X-CSRF-Token" },
            },
        },
    })
}

fn operation(route: &Route, method: &Method, path: &str, access: Access) -> Value {
    let words: Vec<&str> = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let may: Vec<&str> = May::ALL.into_iter().filter(|may| fits(*may, access, method)).map(May::name).collect();
    let session = match *method == Method::GET {
        true => json!({ "session": [] }),
        false => json!({ "session": [], "csrf": [] }),
    };
    let security = match access {
        Access::Open => json!([]),
        Access::SignedIn | Access::Account => json!([session]),
        Access::User | Access::Admin => json!([{ "key": [] }, session]),
    };
    let answer = match (&route.kind, &route.answer) {
        (Some(kind), _) => json!({ kind: { "schema": { "type": "string" } } }),
        (None, answer) => {
            json!({ "application/json": { "schema": answer.as_ref().map_or_else(|| json!({}), |kind| schema(kind, true)) } })
        }
    };
    let error = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
    let mut operation = json!({
        "operationId": format!("{}_{}", method.as_str().to_lowercase(), words.join("_")),
        "summary": route.about,
        "tags": [if access == Access::Admin { "administrators" } else { words.first().copied().unwrap_or("flowauth") }],
        "security": security,
        "parameters": parameters(route, path),
        "responses": {
            "200": { "description": "Done.", "content": answer },
            "default": { "description": "Refused: `message` says why.", "content": error },
        },
    });
    if access != Access::Open {
        operation["x-key-may"] = json!(may);
    }
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": schema(body, false) } } });
    }
    operation
}

fn parameters(route: &Route, path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    let of_path =
        names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "integer" } }));
    let of_query = route.query.iter().flatten();
    let of_query = of_query.map(|(name, kind)| json!({ "name": name, "in": "query", "schema": named(kind) }));
    of_path.chain(of_query).collect()
}

fn schema(kind: &Kind, is_answer: bool) -> Value {
    match kind {
        Kind::Named(name) => named(name),
        Kind::Fields(fields) => object(fields, is_answer),
    }
}

/// An object. An answer has all its fields; a body those that must be there.
fn object(fields: &Fields, is_answer: bool) -> Value {
    let properties: BTreeMap<&String, Value> =
        fields.iter().map(|(name, kind)| (name, named(kind.trim_end_matches('!')))).collect();
    let required: Vec<&String> =
        fields.iter().filter(|(_, kind)| is_answer || kind.ends_with('!')).map(|(name, _)| name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// A type by its name.
fn named(name: &str) -> Value {
    if let Some(name) = name.strip_suffix(" or null") {
        return json!({ "anyOf": [named(name), { "type": "null" }] });
    }
    let within = |open, close| name.strip_prefix(open).and_then(|rest: &str| rest.strip_suffix(close));
    if let Some(item) = within('[', ']') {
        return json!({ "type": "array", "items": named(item) });
    }
    if let Some(value) = within('{', '}') {
        return json!({ "type": "object", "additionalProperties": named(value) });
    }
    match name {
        "any" => json!({}),
        "text" => json!({ "type": "string" }),
        "flag" => json!({ "type": "boolean" }),
        "number" => json!({ "type": "integer" }),
        "time" => json!({ "type": "string", "format": "date-time" }),
        "date" => json!({ "type": "string", "description": "As HTTP has it: Sat, 31 Jan 2026 12:00:00 GMT" }),
        form => json!({ "$ref": format!("#/components/schemas/{form}") }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Every form that is referred to is there, and every one is referred to.
    #[test]
    fn every_form_that_is_named_is_told() {
        fn referred(value: &Value, to: &mut BTreeSet<String>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(name, value)| match value.as_str() {
                    Some(text) if name == "$ref" => drop(to.insert(text.rsplit('/').next().unwrap().to_owned())),
                    _ => referred(value, to),
                }),
                Value::Array(all) => all.iter().for_each(|value| referred(value, to)),
                _ => {}
            }
        }
        let told = told();
        let mut to = BTreeSet::new();
        for (name, route) in &told.routes {
            let (method, path) = name.split_once(' ').unwrap();
            referred(&operation(route, &method.parse().unwrap(), path, Access::Admin), &mut to);
        }
        told.forms.values().for_each(|fields| referred(&object(fields, true), &mut to));
        assert_eq!(told.forms.keys().cloned().collect::<BTreeSet<_>>(), to);
    }

    /// What handlers read out of bodies is what the document says that bodies have.
    #[test]
    fn every_field_of_a_body_is_told() {
        let mut read = BTreeSet::new();
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/routes")).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.extension().is_none_or(|kind| kind != "rs") || ["body.rs", "openapi.rs"].contains(&name) {
                continue;
            }
            let code = std::fs::read_to_string(&path).unwrap();
            for getter in ["text", "flag", "minutes", "time", "number", "numbers", "list"] {
                let before = format!("body.{getter}(\"");
                read.extend(code.split(&*before).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
        let bodies = told().routes.into_values().filter_map(|route| match route.body {
            Some(Kind::Fields(fields)) => Some(fields.into_keys()),
            _ => None,
        });
        let told: BTreeSet<String> = bodies.flatten().collect();
        // Named by a variable where they are read.
        let days = ["first_day", "last_day"].map(str::to_owned);
        assert_eq!(read.union(&days.into()).cloned().collect::<BTreeSet<_>>(), told);
    }
}
