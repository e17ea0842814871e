//! CSV as Python's `csv` module writes it: CR LF, quotes only where they are needed. Arrays and objects are JSON.

use crate::columns::{Column, Scalar};
use crate::encode::{self, Encode};
use crate::json;
use crate::text::{self, Numeric};
use crate::wire::{self, Result};

/// Rows as lines.
pub(crate) struct Csv {
    columns: Vec<Column>,
    /// The line of names. It is written before the first row, for without rows there is none.
    header: Vec<u8>,
    /// For values that may need quotes.
    scratch: Vec<u8>,
}

impl Csv {
    pub(crate) fn begin(columns: &[Column]) -> Csv {
        let mut header = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                header.push(b',');
            }
            field(&mut header, column.name.as_bytes());
        }
        end(&mut header, 0);
        Csv { columns: columns.to_vec(), header, scratch: Vec::new() }
    }
}

impl Encode for Csv {
    fn row(&mut self, mut fields: &[u8], out: &mut Vec<u8>) -> encode::Result {
        out.append(&mut self.header);
        let began = out.len();
        for (i, column) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if let Some(bytes) = wire::field(&mut fields).map_err(encode::in_column(i))? {
                value(out, column, bytes, &mut self.scratch).map_err(encode::in_column(i))?;
            }
        }
        end(out, began);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> encode::Result {
        Ok(())
    }
}

/// Ends the line that began there. An empty line would be none to its readers, so the one field of such a row has quotes.
fn end(out: &mut Vec<u8>, began: usize) {
    if out.len() == began {
        out.extend_from_slice(b"\"\"");
    }
    out.extend_from_slice(b"\r\n");
}

/// A value that is not NULL; NULL is empty, as is a text without characters.
fn value(out: &mut Vec<u8>, column: &Column, bytes: &[u8], scratch: &mut Vec<u8>) -> Result<()> {
    if column.array || matches!(column.scalar, Scalar::Json | Scalar::Jsonb) {
        scratch.clear();
        json::column_value(scratch, column, bytes)?;
        field(out, scratch);
        return Ok(());
    }
    match column.scalar {
        Scalar::Text => field(out, bytes),
        Scalar::Bool => out.extend_from_slice(if wire::whole(bytes)? == [0] { b"False" } else { b"True" }),
        Scalar::Float4 => match f32::from_be_bytes(wire::whole(bytes)?) {
            finite if finite.is_finite() => text::float4(out, finite),
            other => out.extend_from_slice(not_finite(other.into())),
        },
        Scalar::Float8 => match f64::from_be_bytes(wire::whole(bytes)?) {
            finite if finite.is_finite() => text::float8(out, finite),
            other => out.extend_from_slice(not_finite(other)),
        },
        Scalar::Numeric => match Numeric::read(bytes)? {
            Numeric::Finite { negative, weight, scale, digits } => text::numeric(out, negative, weight, scale, digits),
            Numeric::NaN => out.extend_from_slice(b"NaN"),
            Numeric::Infinity { negative: false } => out.extend_from_slice(b"Infinity"),
            Numeric::Infinity { negative: true } => out.extend_from_slice(b"-Infinity"),
        },
        Scalar::Bytea => {
            out.extend_from_slice(b"\\x");
            text::hex(out, bytes);
        }
        other => json::plain(out, other, bytes, b' ')?,
    }
    Ok(())
}

/// As Python prints them.
fn not_finite(value: f64) -> &'static [u8] {
    match value {
        f64::INFINITY => b"inf",
        f64::NEG_INFINITY => b"-inf",
        _ => b"nan",
    }
}

/// A text, in quotes where it would be read as something else without.
fn field(out: &mut Vec<u8>, mut bytes: &[u8]) {
    if !bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        return out.extend_from_slice(bytes);
    }
    out.push(b'"');
    while let Some(at) = bytes.iter().position(|byte| *byte == b'"') {
        out.extend_from_slice(&bytes[..=at]);
        out.push(b'"');
        bytes = &bytes[at + 1..];
    }
    out.extend_from_slice(bytes);
    out.push(b'"');
}
