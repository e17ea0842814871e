//! JSON: each row an object, compact and in ASCII, with something around them all.

use crate::columns::{Column, Scalar};
use crate::encode::{self, Encode};
use crate::text::{self, Numeric};
use crate::wire::{self, Array, Malformed, Result};

/// Rows as objects.
pub(crate) struct Json {
    columns: Vec<Member>,
    any: bool,
}

/// A column, and what stands before each of its values: `{"name":` or `,"name":`. One that a later one of the same name
/// hides has none: an object has a name once, and readers take the last.
struct Member {
    column: Column,
    before: Option<Vec<u8>>,
}

impl Json {
    /// Writes what comes before the rows.
    pub(crate) fn begin(columns: &[Column], query_id: Option<&str>, out: &mut Vec<u8>) -> Json {
        match query_id {
            Some(id) => {
                out.extend_from_slice(b"{\"query_id\":");
                string(out, id.as_bytes());
                out.extend_from_slice(b", \"query_result\":[");
            }
            None => out.extend_from_slice(b"{\"type\":\"FeatureCollection\", \"features\":["),
        }
        let mut first = true;
        let member = |(i, column): (usize, &Column)| {
            let hidden = columns[i + 1..].iter().any(|later| later.name == column.name);
            let before = (!hidden).then(|| {
                let mut before = vec![if std::mem::take(&mut first) { b'{' } else { b',' }];
                string(&mut before, column.name.as_bytes());
                before.push(b':');
                before
            });
            Member { column: column.clone(), before }
        };
        Json { columns: columns.iter().enumerate().map(member).collect(), any: false }
    }
}

impl Encode for Json {
    fn row(&mut self, mut fields: &[u8], out: &mut Vec<u8>) -> encode::Result {
        if std::mem::replace(&mut self.any, true) {
            out.extend_from_slice(b", ");
        }
        if self.columns.is_empty() {
            out.push(b'{');
        }
        for (i, Member { column, before }) in self.columns.iter().enumerate() {
            let field = wire::field(&mut fields).map_err(encode::in_column(i))?;
            let Some(before) = before else { continue };
            out.extend_from_slice(before);
            match field {
                None => out.extend_from_slice(b"null"),
                Some(bytes) => column_value(out, column, bytes).map_err(encode::in_column(i))?,
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> encode::Result {
        out.extend_from_slice(b"]}");
        Ok(())
    }
}

/// A column's value that is not NULL.
pub(crate) fn column_value(out: &mut Vec<u8>, column: &Column, bytes: &[u8]) -> Result<()> {
    if column.array { array(out, column.scalar, bytes) } else { value(out, column.scalar, bytes) }
}

/// A value that is not NULL, as JSON. What JSON can't say, NaN and the infinities, is null.
fn value(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<()> {
    let null = |out: &mut Vec<u8>| out.extend_from_slice(b"null");
    match scalar {
        Scalar::Text => string(out, bytes),
        Scalar::Json => embedded(out, bytes),
        Scalar::Jsonb => embedded(out, bytes.strip_prefix(&[1]).ok_or(Malformed)?),
        Scalar::Bool => out.extend_from_slice(if wire::whole(bytes)? == [0] { b"false" } else { b"true" }),
        Scalar::Float4 => match f32::from_be_bytes(wire::whole(bytes)?) {
            finite if finite.is_finite() => text::float4(out, finite),
            _ => null(out),
        },
        Scalar::Float8 => match f64::from_be_bytes(wire::whole(bytes)?) {
            finite if finite.is_finite() => text::float8(out, finite),
            _ => null(out),
        },
        Scalar::Numeric => match Numeric::read(bytes)? {
            Numeric::Finite { negative, weight, scale, digits } => text::numeric(out, negative, weight, scale, digits),
            Numeric::NaN | Numeric::Infinity { .. } => null(out),
        },
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => plain(out, scalar, bytes, b'T')?,
        Scalar::Date | Scalar::Timestamp | Scalar::TimestampTz | Scalar::Time | Scalar::TimeTz | Scalar::Uuid => {
            out.push(b'"');
            plain(out, scalar, bytes, b'T')?;
            out.push(b'"');
        }
        // As PostgreSQL prints it; the backslash is one character and two of JSON.
        Scalar::Bytea => {
            out.extend_from_slice(b"\"\\\\x");
            text::hex(out, bytes);
            out.push(b'"');
        }
    }
    Ok(())
}

/// Values that need no quoting in any text format. `between` stands between day and time of a timestamp.
pub(crate) fn plain(out: &mut Vec<u8>, scalar: Scalar, mut bytes: &[u8], between: u8) -> Result<()> {
    let in_day = |time: i64| if (0..=86_400_000_000).contains(&time) { Ok(time) } else { Err(Malformed) };
    match scalar {
        Scalar::Int2 => text::integer(out, i16::from_be_bytes(wire::whole(bytes)?)),
        Scalar::Int4 => text::integer(out, i32::from_be_bytes(wire::whole(bytes)?)),
        Scalar::Int8 => text::integer(out, i64::from_be_bytes(wire::whole(bytes)?)),
        Scalar::Oid => text::integer(out, u32::from_be_bytes(wire::whole(bytes)?)),
        Scalar::Date => text::date(out, i32::from_be_bytes(wire::whole(bytes)?)),
        Scalar::Timestamp => text::timestamp(out, i64::from_be_bytes(wire::whole(bytes)?), between, b""),
        Scalar::TimestampTz => text::timestamp(out, i64::from_be_bytes(wire::whole(bytes)?), between, b"+00:00"),
        Scalar::Time => text::time(out, in_day(i64::from_be_bytes(wire::whole(bytes)?))?),
        Scalar::TimeTz => {
            text::time(out, in_day(i64::from_be_bytes(wire::take(&mut bytes)?))?);
            text::zone(out, i32::from_be_bytes(wire::whole(bytes)?));
        }
        Scalar::Uuid => text::uuid(out, wire::whole(bytes)?),
        _ => unreachable!("{scalar:?} is not plain"),
    }
    Ok(())
}

/// An array of arrays, as deep as it is.
fn array(out: &mut Vec<u8>, scalar: Scalar, bytes: &[u8]) -> Result<()> {
    let array = Array::read(bytes)?;
    let mut elements = array.elements;
    if array.lengths().is_empty() {
        out.extend_from_slice(b"[]");
        return Ok(());
    }
    dimension(out, scalar, array.lengths(), &mut elements)
}

fn dimension(out: &mut Vec<u8>, scalar: Scalar, lengths: &[usize], elements: &mut &[u8]) -> Result<()> {
    let Some((length, inner)) = lengths.split_first() else {
        return match wire::field(elements)? {
            Some(bytes) => value(out, scalar, bytes),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        };
    };
    out.push(b'[');
    for i in 0..*length {
        if i > 0 {
            out.push(b',');
        }
        dimension(out, scalar, inner, elements)?;
    }
    out.push(b']');
    Ok(())
}

/// What a byte of a string is.
const CLEAN: u8 = 0;
const SPACE: u8 = 1;
const QUOTE: u8 = 2;
const ESCAPED: u8 = 3;
const FOREIGN: u8 = 4;

static CLASS: [u8; 256] = {
    let mut class = [CLEAN; 256];
    let mut i = 0;
    while i < 256 {
        class[i] = match i as u8 {
            b'"' => QUOTE,
            b' ' => SPACE,
            0..=0x1f | b'\\' => ESCAPED,
            0x80.. => FOREIGN,
            _ => CLEAN,
        };
        i += 1;
    }
    class
};

/// A string in ASCII, with its quotes.
pub(crate) fn string(out: &mut Vec<u8>, mut bytes: &[u8]) {
    out.push(b'"');
    while let Some(at) = bytes.iter().position(|byte| CLASS[usize::from(*byte)] >= QUOTE) {
        let (clean, rest) = bytes.split_at(at);
        out.extend_from_slice(clean);
        bytes = if CLASS[usize::from(rest[0])] == FOREIGN { foreign(out, rest) } else { escaped(out, rest) };
    }
    out.extend_from_slice(bytes);
    out.push(b'"');
}

/// The first character, an escape; what is left.
fn escaped<'a>(out: &mut Vec<u8>, bytes: &'a [u8]) -> &'a [u8] {
    match bytes[0] {
        byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
        8 => out.extend_from_slice(b"\\b"),
        9 => out.extend_from_slice(b"\\t"),
        10 => out.extend_from_slice(b"\\n"),
        12 => out.extend_from_slice(b"\\f"),
        13 => out.extend_from_slice(b"\\r"),
        byte => unit(out, u16::from(byte)),
    }
    &bytes[1..]
}

/// The characters up to the next in ASCII, as UTF-16 in hexadecimal; what is left.
fn foreign<'a>(out: &mut Vec<u8>, bytes: &'a [u8]) -> &'a [u8] {
    let end = bytes.iter().position(u8::is_ascii).unwrap_or(bytes.len());
    let (these, rest) = bytes.split_at(end);
    // PostgreSQL keeps no text that is not UTF-8 where the database is in UTF-8; what is in others (SQL_ASCII) still has
    // to end as a string.
    for character in String::from_utf8_lossy(these).encode_utf16() {
        unit(out, character);
    }
    rest
}

fn unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| b"0123456789ABCDEF"[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// JSON that PostgreSQL has checked, without the spaces between its parts and in ASCII. Numbers keep their digits.
fn embedded(out: &mut Vec<u8>, mut bytes: &[u8]) {
    let mut inside = false;
    while let Some(at) = bytes.iter().position(|byte| CLASS[usize::from(*byte)] != CLEAN) {
        let (clean, rest) = bytes.split_at(at);
        out.extend_from_slice(clean);
        bytes = match CLASS[usize::from(rest[0])] {
            FOREIGN => foreign(out, rest),
            SPACE if !inside => &rest[1..],
            // An escape of the text's own is kept, its second half too, which may be a quote.
            ESCAPED if inside => {
                let (escape, rest) = rest.split_at(rest.len().min(2));
                out.extend_from_slice(escape);
                rest
            }
            ESCAPED => &rest[1..],
            class => {
                inside ^= class == QUOTE;
                out.push(rest[0]);
                &rest[1..]
            }
        };
    }
    out.extend_from_slice(bytes);
}
