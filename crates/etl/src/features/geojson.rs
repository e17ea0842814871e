//! A FeatureCollection (RFC 7946), and what is older and names its own system of coordinates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Fault, Feature, Geometry, Layer, Reading, System};
use crate::source::Input;

/// Most bytes of what is made values of, of one feature: they take many times as much.
const MOST_SAID: usize = 1 << 20;
/// Most attributes of all features.
const MOST_NAMES: usize = 4096;

#[derive(Deserialize)]
struct Collection {
    #[serde(deserialize_with = "members")]
    features: Vec<Member>,
    crs: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Member {
    properties: Option<Box<RawValue>>,
    geometry: Option<Box<RawValue>>,
}

/// A list that is no longer than what is taken: three bytes of the file make one.
fn members<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Member>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<Member>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of features")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Member>, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = list.next_element()? {
                if members.len() == super::MOST_VALUES {
                    return Err(A::Error::custom(format_args!(
                        "there are more than {} million",
                        super::MOST_VALUES >> 20
                    )));
                }
                members.push(member);
            }
            Ok(members)
        }
    }
    list.deserialize_seq(List)
}

/// A part of the file as values, if it is not too long.
fn values<'a, T: Deserialize<'a>>(text: &'a RawValue, what: &str) -> Result<T, Fault> {
    match text.get().len() <= MOST_SAID {
        true => Ok(serde_json::from_str(text.get())?),
        false => Err(Fault::Other(format!("{what} are longer than {} MiB", MOST_SAID >> 20))),
    }
}

pub(super) fn layer(path: &Path, reading: &Reading) -> Result<Layer, Fault> {
    let (text, _) = Input::File(path.into()).open(reading.encoding, |_| ())?;
    let Collection { features, crs } = serde_json::from_slice(&super::whole(text)?)?;
    let what = |number: u64| format!("the properties of feature {number}");
    let mut names = BTreeSet::new();
    for (number, member) in (1..).zip(&features) {
        let Some(properties) = &member.properties else { continue };
        names.extend(values::<BTreeMap<String, IgnoredAny>>(properties, &what(number))?.into_keys());
        if names.len() > MOST_NAMES {
            return Err(Fault::Other(format!("its features have more than {MOST_NAMES} attributes")));
        }
    }
    let mut layer = Layer::new("feature", names.into_iter().collect());
    for (number, Member { properties, geometry }) in (1..).zip(features) {
        let properties = properties.map(|text| values::<Map<String, Value>>(&text, &what(number))).transpose()?;
        let mut properties = properties.unwrap_or_default();
        let values = layer.names.iter().map(|name| properties.remove(name).and_then(text_of)).collect();
        let geometry = geometry.map(|geometry| Geometry::GeoJson(String::from(Box::<str>::from(geometry))));
        layer.push(Feature { number, values, geometry })?;
    }
    layer.system = match crs.map(|text| values::<Value>(&text, "the members of its crs")).transpose()? {
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
