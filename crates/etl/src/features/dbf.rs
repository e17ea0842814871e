//! The attributes of a Shapefile (dBase III): a table of fixed width, whose every field is text.
//!
//! Read here, and not by the crate `dbase`: that leaves out records which are marked as deleted, and the attributes of all that come
//! after go to the wrong shapes; and a field of a type that it does not know ends it, whether it is wanted or not.

use encoding_rs::Encoding;

/// Bytes of what stands before the names of fields, and of each of those.
const PIECE: usize = 32;
/// What ends the names.
const END: u8 = 0x0d;
/// What marks a record as deleted.
const DELETED: u8 = b'*';

/// A table.
pub(super) struct Table<'a> {
    /// Names of fields.
    pub names: Vec<String>,
    /// Where each is in a record.
    fields: Vec<std::ops::Range<usize>>,
    records: &'a [u8],
    width: usize,
    encoding: Option<&'static Encoding>,
}

impl<'a> Table<'a> {
    /// Reads what stands before the records. Text is in `encoding`, or in what the file says.
    pub fn new(bytes: &'a [u8], encoding: Option<&'static Encoding>) -> Result<Table<'a>, String> {
        let head = bytes.get(..PIECE).ok_or("the .dbf is shorter than its head")?;
        let number = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (start, width) = (number(8), number(10));
        let encoding = encoding.or_else(|| of_driver(head[29]));
        let described = bytes.get(PIECE..start).ok_or("the .dbf ends among the names of its fields")?;
        let (mut names, mut fields, mut at) = (Vec::new(), Vec::new(), 1);
        for field in described.chunks_exact(PIECE).take_while(|field| field[0] != END) {
            let name = field[..11].split(|&byte| byte == 0).next().unwrap_or_default();
            names.push(text(name, encoding));
            let length = usize::from(field[16]);
            fields.push(at..at + length);
            at += length;
        }
        if at > width {
            return Err(format!("the .dbf says that its records have {width} bytes; its fields have {at}"));
        }
        let records = &bytes[start..];
        if width == 0 || records.len() / width < count {
            return Err(format!("the .dbf ends before the last of its {count} records"));
        }
        Ok(Table { names, fields, records: &records[..count * width], width, encoding })
    }

    /// How many records there are, those that are deleted among them.
    pub fn len(&self) -> usize {
        self.records.len() / self.width
    }

    /// A record; `None` for one that is deleted.
    pub fn record(&self, at: usize) -> Option<Vec<Option<String>>> {
        let record = &self.records[at * self.width..][..self.width];
        let value = |field: &std::ops::Range<usize>| {
            let text = text(&record[field.clone()], self.encoding);
            // A number that did not fit its field is a row of stars.
            let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
            Some(text.to_owned()).filter(|text| !text.trim_matches('*').is_empty())
        };
        (record[0] != DELETED).then(|| self.fields.iter().map(value).collect())
    }
}

/// What does not say how it is encoded is UTF-8 if it can be, and what Windows wrote in the west otherwise.
fn text(bytes: &[u8], encoding: Option<&'static Encoding>) -> String {
    match (encoding, std::str::from_utf8(bytes)) {
        (Some(encoding), _) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        (None, Ok(text)) => text.to_owned(),
        (None, Err(_)) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

/// The encoding that a byte of the head stands for; 0 for none.
fn of_driver(byte: u8) -> Option<&'static Encoding> {
    Some(match byte {
        0x03 | 0x57 => encoding_rs::WINDOWS_1252,
        0x13 => encoding_rs::SHIFT_JIS,
        0x26 | 0x65 => encoding_rs::IBM866,
        0x4d => encoding_rs::GBK,
        0x4e => encoding_rs::EUC_KR,
        0x4f => encoding_rs::BIG5,
        0x7d => encoding_rs::WINDOWS_1255,
        0x7e => encoding_rs::WINDOWS_1256,
        0xc8 => encoding_rs::WINDOWS_1250,
        0xc9 => encoding_rs::WINDOWS_1251,
        0xca => encoding_rs::WINDOWS_1254,
        0xcb => encoding_rs::WINDOWS_1253,
        _ => return None,
    })
}

/// The encoding that a `.cpg` names: `UTF-8`, `ISO 88591`, `1252`, `ANSI 1252`.
pub(super) fn of_cpg(text: &str) -> Option<&'static Encoding> {
    let label = text.trim();
    let number: String = label.chars().filter(char::is_ascii_digit).collect();
    let known = Encoding::for_label(label.as_bytes());
    known.or_else(|| match number.as_str() {
        "65001" => Some(encoding_rs::UTF_8),
        _ if number.starts_with("8859") && number.len() > 4 => {
            Encoding::for_label(format!("iso-8859-{}", &number[4..]).as_bytes())
        }
        _ => Encoding::for_label(format!("windows-{number}").as_bytes()),
    })
}
