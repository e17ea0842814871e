//! The OpenAPI document against the routes: each is told of, and answers as it is told.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rig::Rig;

/// What `/openapi.json` says.
pub struct Document(Value);

impl Document {
    pub async fn of(rig: &Rig) -> Document {
        let document = rig.browser().ok("GET", "/openapi.json", Value::Null).await;
        assert_eq!(document["openapi"], "3.1.0");
        Document(document)
    }

    /// Every route that it tells of.
    pub fn routes(&self) -> BTreeSet<(String, String)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        let of = |(path, all): (&String, &Value)| -> Vec<(String, String)> {
            all.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())).collect()
        };
        paths.flat_map(of).collect()
    }

    /// What a key must be good for.
    pub fn keys(&self, method: &str, path: &str) -> Vec<&str> {
        let may = self.0["paths"][path][method.to_lowercase()]["x-key-may"].as_array();
        may.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What of a good answer is not as it is told.
    pub fn wrong(&self, method: &str, path: &str, answer: &Value) -> Option<String> {
        let content = &self.0["paths"][path][method.to_lowercase()]["responses"]["200"]["content"];
        self.fits(&content["application/json"]["schema"], answer).err()
    }

    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        if let Some(form) = schema["$ref"].as_str() {
            return self.fits(&self.0["components"]["schemas"][form.rsplit('/').next().unwrap()], value);
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let fits = any.iter().any(|schema| self.fits(schema, value).is_ok());
            return fits.then_some(()).ok_or_else(|| format!("{value} is nothing of {schema}"));
        }
        let is = match schema["type"].as_str() {
            None => true,
            Some("null") => value.is_null(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64(),
            Some("array") => return self.each(&schema["items"], value.as_array().ok_or("no list")?.iter()),
            Some("object") => return self.object(schema, value),
            Some(other) => return Err(format!("the type {other}")),
        };
        is.then_some(()).ok_or_else(|| format!("{value} is no {schema}"))
    }

    fn each<'a>(&self, schema: &Value, mut values: impl Iterator<Item = &'a Value>) -> Result<(), String> {
        values.try_for_each(|value| self.fits(schema, value))
    }

    /// An object has the fields that are told, all of them, and no other.
    fn object(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let value = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
        if schema["additionalProperties"].is_object() {
            return self.each(&schema["additionalProperties"], value.values());
        }
        let told: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let has: BTreeSet<&String> = value.keys().collect();
        if told != has {
            return Err(format!("has {has:?} and not {told:?}"));
        }
        value.iter().try_for_each(|(name, value)| {
            self.fits(&schema["properties"][name], value).map_err(|why| format!("{name}: {why}"))
        })
    }
}
