//! What all writers of formats have in common.

use crate::wire::Malformed;

/// Turns rows into a file's bytes. What stands before the rows is written by whoever makes one.
pub(crate) trait Encode: Send {
    /// The next row: its fields as binary COPY has them, without their count.
    fn row(&mut self, fields: &[u8], out: &mut Vec<u8>) -> Result;

    /// What comes after the last row.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result;
}

/// Why a row can't be written.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The library that writes the format refuses it.
    Writer(Box<dyn std::error::Error + Send + Sync>),
    /// The field of this column, counted from 0, is not what its type says.
    Field(usize),
}

pub(crate) type Result = std::result::Result<(), Fault>;

/// For `map_err`: says of which column it is.
pub(crate) fn in_column(column: usize) -> impl Fn(Malformed) -> Fault {
    move |Malformed| Fault::Field(column)
}
