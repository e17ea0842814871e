//! A FeatureCollection (RFC 7946), and what is older and names its own system of coordinates.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Fault, Feature, Geometry, Layer, Reading, System};
use crate::source::Input;

#[derive(Deserialize)]
struct Collection {
    features: Vec<Member>,
    crs: Option<Value>,
}

#[derive(Deserialize)]
struct Member {
    properties: Option<Map<String, Value>>,
    geometry: Option<Box<RawValue>>,
}

pub(super) fn layer(path: &Path, reading: &Reading) -> Result<Layer, Fault> {
    let (text, _) = Input::File(path.into()).open(reading.encoding, |_| ())?;
    let Collection { features, crs } = serde_json::from_slice(&super::whole(text)?)?;
    let names: BTreeSet<String> =
        features.iter().filter_map(|member| member.properties.as_ref()).flat_map(Map::keys).cloned().collect();
    let mut layer = Layer::new("feature", names.into_iter().collect());
    for (number, Member { properties, geometry }) in (1..).zip(features) {
        let mut properties = properties.unwrap_or_default();
        let values = layer.names.iter().map(|name| properties.remove(name).and_then(text_of)).collect();
        let geometry = geometry.map(|geometry| Geometry::GeoJson(String::from(Box::<str>::from(geometry))));
        layer.push(Feature { number, values, geometry })?;
    }
    layer.system = match crs.as_ref().filter(|crs| !crs.is_null()) {
        None => System::WGS84,
        Some(crs) => System::of_urn(crs["properties"]["name"].as_str().unwrap_or("a crs without a name")),
    };
    Ok(layer)
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    }
}
