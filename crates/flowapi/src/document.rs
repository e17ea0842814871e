//! The OpenAPI document: our paths, FlowMachine's schemas, and the scopes that a token may have.

use std::collections::{BTreeMap, BTreeSet};

use results::Format;
use serde_json::{Map, Value, json};

/// Paths and their answers. Its member `schemas` is ours too and goes beside FlowMachine's.
const OURS: &str = include_str!("../assets/openapi.json");

/// Scopes of actions; all others are of queries.
const ACTIONS: [&str; 4] = ["get_available_dates", "get_qa_checks", "get_result", "run"];

/// The version of FlowKit whose interface this is.
const VERSION: &str = "1.34.0";

/// A component that stands for all queries.
const UNION: &str = "FlowmachineQuerySchema";

/// The document of a server that is called `identifier`.
///
/// # Panics
/// When our own part is no JSON; a test reads it.
pub fn document(schemas: &Map<String, Value>, identifier: &str) -> Value {
    let mut document: Value = serde_json::from_str(OURS).expect("our own part is JSON");
    let mut all = document.as_object_mut().and_then(|document| document.remove("schemas")).unwrap_or_default();
    if let Some(all) = all.as_object_mut() {
        all.extend(schemas.clone());
    }
    document["info"]["version"] = VERSION.into();
    document["components"]["schemas"] = all;
    let get = &mut document["paths"]["/api/0/get/{query_id}.{filetype}"]["get"];
    get["parameters"][1]["schema"]["enum"] = Format::ALL.map(Format::extension).as_slice().into();
    for format in Format::ALL {
        let schema = match format {
            Format::Json => json!({ "$ref": "#/components/schemas/FlowapiResult" }),
            Format::GeoJson => json!({ "type": "object" }),
            _ => json!({ "type": "string", "format": "binary" }),
        };
        get["responses"]["200"]["content"][format.content_type()] = json!({ "schema": schema });
    }
    document["components"]["securitySchemes"] = json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "x-security-scopes": scopes(schemas),
            "x-audience": identifier,
        }
    });
    document
}

/// Every scope: the actions, and `UNIT:QUERY:PART` for every kind of query, each unit that it may have and each kind that
/// may be a part of it, itself included.
pub fn scopes(schemas: &Map<String, Value>) -> BTreeSet<String> {
    let mut scopes: BTreeSet<String> = ACTIONS.iter().map(ToString::to_string).collect();
    let mut known = BTreeMap::new();
    for kind in schemas.get(UNION).and_then(|union| union["oneOf"].as_array()).into_iter().flatten() {
        let Some((name, schema)) = referred(kind, schemas) else { continue };
        let parts = kinds_in(name, schemas, &mut known);
        for top in own_kinds(schema) {
            for (unit, part) in units(schema).iter().flat_map(|unit| parts.iter().map(move |part| (unit, part))) {
                scopes.insert(format!("{unit}:{top}:{part}"));
            }
        }
    }
    scopes
}

fn referred<'a>(schema: &'a Value, schemas: &'a Map<String, Value>) -> Option<(&'a str, &'a Value)> {
    let name = schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")?;
    Some((name, schemas.get(name)?))
}

fn texts(values: &Value) -> impl Iterator<Item = &str> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn own_kinds(schema: &Value) -> impl Iterator<Item = &str> {
    texts(&schema["properties"]["query_kind"]["enum"])
}

/// Those that are worked out from a part count too: a token says for which unit a result may be had.
fn units(schema: &Value) -> Vec<&str> {
    match schema["properties"].get("aggregation_unit") {
        Some(unit) => texts(&unit["enum"]).collect(),
        None => vec!["nonspatial"],
    }
}

/// The kinds of a component and of all that it is made of.
fn kinds_in(
    name: &str,
    schemas: &Map<String, Value>,
    known: &mut BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<String> {
    if let Some(kinds) = known.get(name) {
        return kinds.clone();
    }
    // For components that are a part of themselves: there are none today.
    known.insert(name.to_owned(), BTreeSet::new());
    let mut kinds = BTreeSet::new();
    if let Some(schema) = schemas.get(name) {
        kinds.extend(own_kinds(schema).map(str::to_owned));
        collect(schema, schemas, known, &mut kinds);
    }
    known.insert(name.to_owned(), kinds.clone());
    kinds
}

fn collect(
    schema: &Value,
    schemas: &Map<String, Value>,
    known: &mut BTreeMap<String, BTreeSet<String>>,
    kinds: &mut BTreeSet<String>,
) {
    match schema {
        Value::Object(members) => {
            if let Some((name, _)) = referred(schema, schemas) {
                kinds.extend(kinds_in(name, schemas, known));
            }
            if members.contains_key("properties") {
                kinds.extend(own_kinds(schema).map(str::to_owned));
            }
            // A discriminator names components as texts, not as references; they are among the members anyway.
            members.values().for_each(|member| collect(member, schemas, known, kinds));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, schemas, known, kinds)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas() -> Map<String, Value> {
        let kind = |name: &str, unit: Value, more: Value| {
            let mut properties = json!({ "query_kind": { "type": "string", "enum": [name] } });
            if !unit.is_null() {
                properties["aggregation_unit"] = json!({ "enum": unit, "readOnly": true });
            }
            properties["part"] = more;
            json!({ "type": "object", "properties": properties })
        };
        let to = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        let union = json!({ "oneOf": [to("Sum"), to("Plain")], "discriminator": { "mapping": {} } });
        [
            ("Sum", kind("sum", json!(["admin1", "lon-lat"]), json!({ "items": to("Any") }))),
            ("Any", json!({ "oneOf": [to("Deep"), to("Any")] })),
            ("Deep", kind("deep", json!(["admin3"]), Value::Null)),
            ("Plain", kind("plain", Value::Null, Value::Null)),
            ("FlowmachineQuerySchema", union),
        ]
        .map(|(name, schema)| (name.to_owned(), schema))
        .into_iter()
        .collect()
    }

    #[test]
    fn scopes_are_units_of_the_top_and_kinds_of_all_parts() {
        let scopes = scopes(&schemas());
        let queries: Vec<_> = scopes.iter().filter(|scope| scope.contains(':')).map(String::as_str).collect();
        assert_eq!(
            queries,
            ["admin1:sum:deep", "admin1:sum:sum", "lon-lat:sum:deep", "lon-lat:sum:sum", "nonspatial:plain:plain"]
        );
        assert_eq!(scopes.len(), queries.len() + ACTIONS.len());
    }

    #[test]
    fn the_document_has_both_kinds_of_schemas_and_every_reference_leads_somewhere() {
        let document = document(&schemas(), "here");
        assert_eq!(document["components"]["securitySchemes"]["token"]["x-audience"], "here");
        assert_eq!(document["info"]["version"], VERSION);
        assert!(document.get("schemas").is_none());
        let file = &document["paths"]["/api/0/get/{query_id}.{filetype}"]["get"];
        assert_eq!(file["parameters"][1]["schema"]["enum"][0], "json");
        assert!(file["responses"]["200"]["content"]["text/csv"].is_object());
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
        }
    }
}
