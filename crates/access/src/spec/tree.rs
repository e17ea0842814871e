//! JSON within bounds. Every bound is kept while the text is read, so that no text, however made, costs more than it may.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{Bounds, Fault};

/// A value. Objects keep the order of their names.
#[derive(Debug, PartialEq)]
pub enum Node {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// What stands under this name of an object.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Self::Object(entries) = self else { return None };
        entries.iter().find(|(entry, _)| entry == name).map(|(_, node)| node)
    }

    /// A text, or nothing.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// What an object or list has in it.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match self {
            Self::List(nodes) => Box::new(nodes.iter()),
            Self::Object(entries) => Box::new(entries.iter().map(|(_, node)| node)),
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// Reads the whole text as one object.
pub fn read(text: &[u8], bounds: &Bounds) -> Result<Node, Fault> {
    if text.len() > bounds.bytes {
        return Err(Fault::TooMuch { most: bounds.bytes as u64, of: "bytes" });
    }
    let reading = Reading { bounds, values: Cell::new(0), fault: RefCell::new(None) };
    let mut json = serde_json::Deserializer::from_slice(text);
    let node = Value { reading: &reading, depth: 0 }.deserialize(&mut json).and_then(|node| json.end().map(|()| node));
    match node {
        Ok(node @ Node::Object(_)) => Ok(node),
        Ok(_) => Err(Fault::NotASpec),
        Err(_) => Err(reading.fault.take().unwrap_or(Fault::NotASpec)),
    }
}

struct Reading<'a> {
    bounds: &'a Bounds,
    values: Cell<usize>,
    /// What went wrong, in our words; the error that carries it up has serde's.
    fault: RefCell<Option<Fault>>,
}

impl Reading<'_> {
    fn fail<E: Error>(&self, fault: Fault) -> E {
        self.fault.replace(Some(fault));
        E::custom("")
    }

    fn within<E: Error>(&self, count: usize, most: usize, of: &'static str) -> Result<(), E> {
        if count > most { Err(self.fail(Fault::TooMuch { most: most as u64, of })) } else { Ok(()) }
    }

    fn text<E: Error>(&self, text: &str) -> Result<String, E> {
        self.within(text.len(), self.bounds.text, "bytes in one text")?;
        Ok(text.to_owned())
    }
}

#[derive(Clone, Copy)]
struct Value<'a> {
    reading: &'a Reading<'a>,
    depth: usize,
}

impl Value<'_> {
    /// One level further down.
    fn inner<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        self.reading.within(depth, self.reading.bounds.depth, "levels")?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.reading.values.set(self.reading.values.get() + 1);
        self.reading.within(self.reading.values.get(), self.reading.bounds.values, "values")?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Node, E> {
        Number::from_f64(number).map(Node::Number).ok_or_else(|| self.reading.fail(Fault::NotASpec))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        self.reading.text(text).map(Node::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let inner = self.inner()?;
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(inner)? {
            nodes.push(node);
            self.reading.within(nodes.len(), self.reading.bounds.entries, "entries in one list")?;
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let inner = self.inner()?;
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            self.reading.within(name.len(), self.reading.bounds.text, "bytes in one text")?;
            if !names.insert(name.clone()) {
                return Err(self.reading.fail(Fault::Twice(name)));
            }
            entries.push((name, map.next_value_seed(inner)?));
            self.reading.within(entries.len(), self.reading.bounds.entries, "entries in one object")?;
        }
        Ok(Node::Object(entries))
    }
}
