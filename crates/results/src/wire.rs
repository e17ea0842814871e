//! PostgreSQL's binary COPY: a signature, then rows of fields. The server sends each row as a message of its own; the first
//! has the signature before it.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

/// What a file begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Bytes that are not what they should be. Where and what is said by who knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

pub(crate) type Result<T> = std::result::Result<T, Malformed>;

/// The next bytes, a fixed number of them.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    *bytes = rest;
    Ok(*first)
}

pub(crate) fn i16(bytes: &mut &[u8]) -> Result<i16> {
    take(bytes).map(i16::from_be_bytes)
}

pub(crate) fn i32(bytes: &mut &[u8]) -> Result<i32> {
    take(bytes).map(i32::from_be_bytes)
}

/// A whole value of a fixed size.
pub(crate) fn whole<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Malformed)
}

/// The next field or element: its length, -1 for NULL, and its bytes.
pub(crate) fn field<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let length = i32(bytes)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| Malformed)?;
    let (value, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    Ok(Some(value))
}

/// Takes off the head of the whole stream.
pub(crate) fn head(bytes: &mut &[u8]) -> Result<()> {
    *bytes = bytes.strip_prefix(SIGNATURE).ok_or(Malformed)?;
    let _flags = i32(bytes)?;
    let extension = usize::try_from(i32(bytes)?).map_err(|_| Malformed)?;
    *bytes = bytes.get(extension..).ok_or(Malformed)?;
    Ok(())
}

/// Takes off the number of a row's fields; false for the mark at the end.
pub(crate) fn row(bytes: &mut &[u8], columns: usize) -> Result<bool> {
    match i16(bytes)? {
        -1 => Ok(false),
        // PostgreSQL has at most 1,664 columns in a result.
        count if usize::try_from(count) == Ok(columns) => Ok(true),
        _ => Err(Malformed),
    }
}

/// An array's lengths by dimension, outermost first, and the bytes of its elements in row-major order.
pub(crate) struct Array<'a> {
    dimensions: usize,
    lengths: [usize; MAX_DIMENSIONS],
    pub(crate) elements: &'a [u8],
}

/// PostgreSQL's own limit.
const MAX_DIMENSIONS: usize = 6;

impl<'a> Array<'a> {
    pub(crate) fn read(mut bytes: &'a [u8]) -> Result<Array<'a>> {
        let dimensions = usize::try_from(i32(&mut bytes)?).map_err(|_| Malformed)?;
        if dimensions > MAX_DIMENSIONS {
            return Err(Malformed);
        }
        let (_has_nulls, _element_type) = (i32(&mut bytes)?, i32(&mut bytes)?);
        let mut lengths = [0; MAX_DIMENSIONS];
        for length in &mut lengths[..dimensions] {
            *length = usize::try_from(i32(&mut bytes)?).map_err(|_| Malformed)?;
            let _lower_bound = i32(&mut bytes)?;
        }
        Ok(Array { dimensions, lengths, elements: bytes })
    }

    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths[..self.dimensions]
    }
}
