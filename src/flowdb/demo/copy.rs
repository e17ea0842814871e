//! Rows in PostgreSQL's binary COPY format.

/// What a stream of rows begins with: signature, no flags, no extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub const TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// Days from the Julian day 0 to PostgreSQL's epoch, 2000-01-01.
const EPOCH: i32 = 2_451_545;
/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// Days since PostgreSQL's epoch.
pub fn days(date: time::Date) -> i32 {
    date.to_julian_day() - EPOCH
}

/// Microseconds since PostgreSQL's epoch of a moment of a day, in UTC.
pub fn moment(date: time::Date, micros: u64) -> i64 {
    i64::from(days(date)) * DAY + micros as i64
}

/// Rows as they go over the wire. Fields are appended from left to right, [`Rows::row`] begins a new row.
#[derive(Default)]
pub struct Rows(pub Vec<u8>);

impl Rows {
    /// Begins a row of so many fields.
    pub fn row(&mut self, fields: i16) -> &mut Rows {
        self.0.extend(fields.to_be_bytes());
        self
    }

    /// A field without a value.
    pub fn null(&mut self) -> &mut Rows {
        self.0.extend((-1i32).to_be_bytes());
        self
    }

    /// A field of any type in its own binary format.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Rows {
        self.0.extend((bytes.len() as i32).to_be_bytes());
        self.0.extend(bytes);
        self
    }

    /// `text`.
    pub fn text(&mut self, text: &str) -> &mut Rows {
        self.field(text.as_bytes())
    }

    /// `text` of hexadecimal digits.
    pub fn hex(&mut self, bytes: &[u8]) -> &mut Rows {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.0.extend((bytes.len() as i32 * 2).to_be_bytes());
        self.0.extend(bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]));
        self
    }

    /// `boolean`.
    pub fn boolean(&mut self, value: bool) -> &mut Rows {
        self.field(&[u8::from(value)])
    }

    /// `integer`.
    pub fn int(&mut self, value: i32) -> &mut Rows {
        self.field(&value.to_be_bytes())
    }

    /// `bigint`.
    pub fn bigint(&mut self, value: i64) -> &mut Rows {
        self.field(&value.to_be_bytes())
    }

    /// `date`.
    pub fn date(&mut self, date: time::Date) -> &mut Rows {
        self.int(days(date))
    }

    /// `timestamptz`, in microseconds since PostgreSQL's epoch ([`moment`]).
    pub fn timestamp(&mut self, micros: i64) -> &mut Rows {
        self.bigint(micros)
    }

    /// `numeric` without a fraction.
    pub fn numeric(&mut self, value: u64) -> &mut Rows {
        self.decimal(value, 0)
    }

    /// `numeric` given in hundredths.
    pub fn hundredths(&mut self, value: u64) -> &mut Rows {
        self.decimal(value, 2)
    }

    /// `numeric`: digits to base 10000, most significant first, without zeros at either end.
    fn decimal(&mut self, value: u64, scale: u16) -> &mut Rows {
        const BASE: u64 = 10_000;
        let unit = 10u64.pow(u32::from(scale));
        let mut digits = [0u16; 6];
        digits[5] = (value % unit * (BASE / unit)) as u16;
        let mut whole = value / unit;
        for digit in digits[..5].iter_mut().rev() {
            *digit = (whole % BASE) as u16;
            whole /= BASE;
        }
        let first = digits.iter().position(|&digit| digit != 0).unwrap_or(5);
        let end = digits.iter().rposition(|&digit| digit != 0).map_or(first, |last| last + 1);
        let used = &digits[first..end];
        let weight = if used.is_empty() { 0 } else { 4 - first as i16 };
        self.0.extend((8 + 2 * used.len() as i32).to_be_bytes());
        self.0.extend((used.len() as i16).to_be_bytes());
        self.0.extend(weight.to_be_bytes());
        self.0.extend(0u16.to_be_bytes()); // not negative
        self.0.extend(scale.to_be_bytes());
        used.iter().for_each(|digit| self.0.extend(digit.to_be_bytes()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a numeric field back: digits, weight, scale.
    fn numeric(value: u64, scale: u16) -> (Vec<u16>, i16, u16) {
        let mut rows = Rows::default();
        rows.decimal(value, scale);
        let words: Vec<u16> = rows.0[4..].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(usize::from(words[0]), words.len() - 4);
        assert_eq!(rows.0[..4], (words.len() as i32 * 2).to_be_bytes());
        (words[4..].to_vec(), words[1] as i16, words[3])
    }

    #[test]
    fn numerics_are_digits_to_base_ten_thousand() {
        assert_eq!(numeric(0, 0), (vec![], 0, 0));
        assert_eq!(numeric(7, 0), (vec![7], 0, 0));
        assert_eq!(numeric(35_007_919, 0), (vec![3500, 7919], 1, 0));
        assert_eq!(numeric(20_000, 0), (vec![2], 1, 0));
        assert_eq!(numeric(u64::MAX, 0), (vec![1844, 6744, 737, 955, 1615], 4, 0));
        assert_eq!(numeric(5, 2), (vec![500], -1, 2));
        assert_eq!(numeric(1_234_567, 2), (vec![1, 2345, 6700], 1, 2));
        assert_eq!(numeric(120_000, 2), (vec![1200], 0, 2));
    }

    #[test]
    fn days_and_moments_count_from_2000() {
        let date = time::macros::date!(2000 - 01 - 02);
        assert_eq!(days(date), 1);
        assert_eq!(moment(date, 5), 86_400_000_005);
    }

    #[test]
    fn hexadecimal_text_has_its_length_before_it() {
        let mut rows = Rows::default();
        rows.row(1).hex(&[0x0f, 0xa0]);
        assert_eq!(rows.0, b"\0\x01\0\0\0\x040fa0");
    }
}
