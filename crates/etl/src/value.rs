//! Values in PostgreSQL's binary format, out of the text of a file.

use std::fmt;

use memchr::memchr2;

use crate::kind::Type;
use crate::moment::Moments;

/// Longest text that is taken, in bytes: what FlowDB holds are identifiers, and an index takes no entry above 2.7 kB.
pub const LONGEST: usize = 1000;

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// FlowDB refuses a row without it.
    Missing,
    /// Longer than [`LONGEST`] bytes.
    TooLong(usize),
    /// Bytes that are no text in UTF-8.
    NotUtf8,
    /// The character 0, which PostgreSQL keeps in no text.
    Zero,
    /// A line break, a tab and the like, where no name has one.
    Control,
    /// What could not be read in the encoding that was given.
    NotInEncoding,
    /// Not yes or no.
    NotBoolean,
    /// Not a moment, as they are written in this file.
    NotMoment,
    /// Not a number.
    NotNumber,
    /// More than eight digits.
    TooLarge,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Missing => f.write_str("has no value"),
            Wrong::TooLong(bytes) => write!(f, "is {bytes} bytes long (at most {LONGEST})"),
            Wrong::NotUtf8 => f.write_str("is not UTF-8"),
            Wrong::Zero => f.write_str("has a character 0"),
            Wrong::Control => f.write_str("has a line break or another control character (a stray quote?)"),
            Wrong::NotInEncoding => f.write_str("has bytes that the encoding lacks"),
            Wrong::NotBoolean => f.write_str("is neither true nor false"),
            Wrong::NotMoment => f.write_str("is no date and time"),
            Wrong::NotNumber => f.write_str("is no number"),
            Wrong::TooLarge => f.write_str("has more than eight digits"),
        }
    }
}

/// Whether a text is a number as PostgreSQL's `numeric` takes it.
pub fn is_number(text: &[u8]) -> bool {
    Decimal::read(text).is_ok()
}

/// Appends a value with its length before it.
pub fn append(r#type: Type, text: &[u8], moments: &Moments, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match r#type {
        Type::Text => field(name(text)?, out),
        Type::Words => field(words(text)?, out),
        Type::Boolean => field(&[u8::from(boolean(text)?)], out),
        Type::Timestamp => field(&moments.read(text).ok_or(Wrong::NotMoment)?.to_be_bytes(), out),
        Type::Numeric | Type::Digits8 => match (small(text), r#type) {
            (Some(number), _) => append_small(number, out),
            (None, Type::Digits8) => Decimal::read(text)?.whole(8)?.append(out),
            (None, _) => Decimal::read(text)?.append(out),
        },
    }
    Ok(())
}

/// A whole number of at most eight digits, as most are: two groups of four.
fn small(text: &[u8]) -> Option<u32> {
    let is_small = (1..=8).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_small.then(|| text.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// The same as [`Decimal::append`], which looks at each digit for itself.
fn append_small(number: u32, out: &mut Vec<u8>) {
    let groups = [(number / 10_000) as u16, (number % 10_000) as u16];
    let (groups, weight): (&[u16], i16) = match groups {
        [0, 0] => (&[], 0),
        [0, _] => (&groups[1..], 0),
        [_, 0] => (&groups[..1], 1),
        _ => (&groups, 1),
    };
    head(groups.len(), weight, 0, 0, out);
    groups.iter().for_each(|group| out.extend(group.to_be_bytes()));
}

/// What PostgreSQL has before the groups of a number: their count, what the first is worth, the sign, how many digits after the point are shown.
fn head(groups: usize, weight: i16, sign: u16, scale: u16, out: &mut Vec<u8>) {
    out.extend((8 + 2 * groups as i32).to_be_bytes());
    out.extend((groups as i16).to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(sign.to_be_bytes());
    out.extend(scale.to_be_bytes());
}

/// Appends nothing at all, PostgreSQL's NULL.
pub fn append_null(out: &mut Vec<u8>) {
    out.extend((-1i32).to_be_bytes());
}

fn field(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as i32).to_be_bytes());
    out.extend(bytes);
}

fn checked(text: &[u8]) -> Result<&[u8], Wrong> {
    if text.len() > LONGEST {
        return Err(Wrong::TooLong(text.len()));
    }
    std::str::from_utf8(text).map_err(|_| Wrong::NotUtf8)?;
    if text.contains(&0) { Err(Wrong::Zero) } else { Ok(text) }
}

/// A quote that nobody meant reaches to the next one, lines further, and all between them would be one name.
fn name(text: &[u8]) -> Result<&[u8], Wrong> {
    let text = checked(text)?;
    if text.iter().any(u8::is_ascii_control) { Err(Wrong::Control) } else { Ok(text) }
}

/// The same of words, which may have a tab between them.
fn words(text: &[u8]) -> Result<&[u8], Wrong> {
    let text = checked(text)?;
    if memchr2(b'\n', b'\r', text).is_some() { Err(Wrong::Control) } else { Ok(text) }
}

/// The spellings that PostgreSQL takes.
fn boolean(text: &[u8]) -> Result<bool, Wrong> {
    let text = text.trim_ascii().to_ascii_lowercase();
    let begins = |word: &[u8]| !text.is_empty() && word.starts_with(&text);
    match text.as_slice() {
        b"1" | b"on" => Ok(true),
        b"0" | b"of" | b"off" => Ok(false),
        _ if begins(b"true") || begins(b"yes") => Ok(true),
        _ if begins(b"false") || begins(b"no") => Ok(false),
        _ => Err(Wrong::NotBoolean),
    }
}

/// A decimal number of any length that is reasonable.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// 0 to 9 each, most significant first.
    digits: Vec<u8>,
    /// How many of them stand before the point; may lie outside of them.
    point: i32,
    /// Digits after the point that are shown.
    scale: u16,
}

/// Digits of a number, and the largest exponent: 38 is what other databases keep.
const DIGITS: usize = 200;
const EXPONENT: i32 = 200;

impl Decimal {
    /// Digits with an optional sign, point and exponent; blanks around them. Infinity and NaN are no numbers.
    fn read(text: &[u8]) -> Result<Decimal, Wrong> {
        let text = text.trim_ascii();
        let (negative, text) = match text.split_first().ok_or(Wrong::NotNumber)? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, text),
        };
        let end = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let exponent = end.map_or(Some(0), |at| exponent(&text[at + 1..])).ok_or(Wrong::NotNumber)?;
        let mantissa = &text[..end.unwrap_or(text.len())];
        let point = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
        let (whole, fraction) = (&mantissa[..point], mantissa.get(point + 1..).unwrap_or_default());
        let count = whole.len() + fraction.len();
        let all = || whole.iter().chain(fraction);
        if count == 0 || count > DIGITS || !all().all(u8::is_ascii_digit) {
            return Err(Wrong::NotNumber);
        }
        let scale = (fraction.len() as i32 - exponent).max(0) as u16;
        Ok(Decimal { negative, digits: all().map(|byte| byte - b'0').collect(), point: point as i32 + exponent, scale })
    }

    /// Rounded to a whole number, half away from zero, of so many digits at most.
    fn whole(mut self, most: usize) -> Result<Decimal, Wrong> {
        let kept = usize::try_from(self.point).unwrap_or(0);
        let up = self.point >= 0 && self.digits.get(kept).is_some_and(|&digit| digit >= 5);
        self.digits.resize(kept, 0);
        if up {
            self.add_one();
        }
        (self.point, self.scale) = (self.digits.len() as i32, 0);
        let leading = self.digits.iter().take_while(|&&digit| digit == 0).count();
        if self.digits.len() - leading > most { Err(Wrong::TooLarge) } else { Ok(self) }
    }

    fn add_one(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits.insert(0, 1);
    }

    /// PostgreSQL's format: groups of four decimal digits around the point, without zeros at either end.
    fn append(&self, out: &mut Vec<u8>) {
        let before = self.point.div_euclid(4) + i32::from(self.point.rem_euclid(4) != 0);
        let pad = (before * 4 - self.point) as usize;
        let digit =
            |at: usize| at.checked_sub(pad).and_then(|at| self.digits.get(at)).map_or(0, |&digit| u16::from(digit));
        let groups = (pad + self.digits.len()).div_ceil(4);
        let group = |at: usize| (0..4).fold(0, |sum, i| sum * 10 + digit(at * 4 + i));
        let first = (0..groups).find(|&at| group(at) != 0);
        let range = first.map_or(0..0, |first| {
            let last = (first..groups).rfind(|&at| group(at) != 0).unwrap_or(first);
            first..last + 1
        });
        let weight = first.map_or(0, |first| before as i16 - 1 - first as i16);
        let sign: u16 = if self.negative && !range.is_empty() { 0x4000 } else { 0 };
        head(range.len(), weight, sign, self.scale, out);
        range.for_each(|at| out.extend(group(at).to_be_bytes()));
    }
}

fn exponent(text: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(text).ok()?;
    let sound = text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|exponent: &i32| sound && exponent.abs() <= EXPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits to base 10000, weight, sign, scale.
    fn numeric(text: &str, r#type: Type) -> Result<(Vec<u16>, i16, u16, u16), Wrong> {
        let mut out = Vec::new();
        let moments =
            Moments { writing: crate::moment::Writing::Iso, zone: crate::moment::Zone::named("UTC").unwrap() };
        append(r#type, text.as_bytes(), &moments, &mut out)?;
        let words: Vec<u16> = out[4..].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(out[..4], (words.len() as i32 * 2).to_be_bytes());
        assert_eq!(usize::from(words[0]), words.len() - 4);
        Ok((words[4..].to_vec(), words[1] as i16, words[2], words[3]))
    }

    #[test]
    fn numbers_are_groups_of_four_digits() {
        for (text, digits, weight, sign, scale) in [
            ("0", vec![], 0, 0, 0),
            ("-0.00", vec![], 0, 0, 2),
            ("7", vec![7], 0, 0, 0),
            (" +35007919 ", vec![3500, 7919], 1, 0, 0),
            ("20000", vec![2], 1, 0, 0),
            ("0.05", vec![500], -1, 0, 2),
            (".5", vec![5000], -1, 0, 1),
            ("5.", vec![5], 0, 0, 0),
            ("-12345.67", vec![1, 2345, 6700], 1, 0x4000, 2),
            ("1e3", vec![1000], 0, 0, 0),
            ("1.5E-5", vec![1500], -2, 0, 6),
            ("120.00", vec![120], 0, 0, 2),
            ("0000000000012", vec![12], 0, 0, 0),
        ] {
            assert_eq!(numeric(text, Type::Numeric), Ok((digits, weight, sign, scale)), "{text}");
        }
        // Those of few digits go another way.
        for number in [0, 1, 9, 10, 9_999, 10_000, 10_001, 20_000, 9_999_000, 12_345_678, 99_999_999u32] {
            let (text, mut whole) = (number.to_string(), Vec::new());
            Decimal::read(text.as_bytes()).unwrap().append(&mut whole);
            let mut few = Vec::new();
            append_small(small(text.as_bytes()).unwrap(), &mut few);
            assert_eq!(few, whole, "{text}");
        }
        assert!(["", "123456789", "-1", "1.0", " 1", "1e3"].iter().all(|text| small(text.as_bytes()).is_none()));
        for bad in
            ["", ".", "-", "1,5", "NaN", "Infinity", "0x10", "1e", "1e+-3", "1e9999", "1 2", "١", &"1".repeat(201)]
        {
            assert_eq!(numeric(bad, Type::Numeric), Err(Wrong::NotNumber), "{bad}");
        }
    }

    #[test]
    fn a_tac_is_a_whole_number_of_eight_digits() {
        assert_eq!(numeric("35007919", Type::Digits8), Ok((vec![3500, 7919], 1, 0, 0)));
        assert_eq!(numeric("35007919.4", Type::Digits8), Ok((vec![3500, 7919], 1, 0, 0)));
        assert_eq!(numeric("0099999999.5", Type::Digits8), Err(Wrong::TooLarge));
        assert_eq!(numeric("9.5", Type::Digits8), Ok((vec![10], 0, 0, 0)));
        assert_eq!(numeric("0.5", Type::Digits8), Ok((vec![1], 0, 0, 0)));
        assert_eq!(numeric("0.05", Type::Digits8), Ok((vec![], 0, 0, 0)));
        assert_eq!(numeric("5e-3", Type::Digits8), Ok((vec![], 0, 0, 0)));
        assert_eq!(numeric("350079191", Type::Digits8), Err(Wrong::TooLarge));
        assert_eq!(numeric("1e199", Type::Digits8), Err(Wrong::TooLarge));
    }

    #[test]
    fn yes_and_no_are_spelt_as_for_postgresql() {
        for (text, value) in [
            ("t", true),
            ("TRUE", true),
            ("y", true),
            (" on ", true),
            ("1", true),
            ("f", false),
            ("No", false),
            ("0", false),
        ] {
            assert_eq!(boolean(text.as_bytes()), Ok(value), "{text}");
        }
        for bad in ["", "o", "2", "truer", "ja"] {
            assert_eq!(boolean(bad.as_bytes()), Err(Wrong::NotBoolean), "{bad}");
        }
    }

    #[test]
    fn texts_are_utf8_without_zeros() {
        assert_eq!(checked("grün".as_bytes()), Ok("grün".as_bytes()));
        assert_eq!(checked(b"gr\xfcn"), Err(Wrong::NotUtf8));
        assert_eq!(checked(b"a\0b"), Err(Wrong::Zero));
        assert_eq!(checked(&[b'a'; LONGEST + 1]), Err(Wrong::TooLong(LONGEST + 1)));
        assert_eq!(name("grün, 1".as_bytes()), Ok("grün, 1".as_bytes()));
        assert_eq!(name(b"a\0b"), Err(Wrong::Zero));
        for bad in [&b"c1,5\na1"[..], b"a\r", b"\ta", b"a\x7f"] {
            assert_eq!((name(bad), checked(bad)), (Err(Wrong::Control), Ok(bad)));
        }
        assert_eq!(words("grün\tund blau".as_bytes()), Ok("grün\tund blau".as_bytes()));
        assert_eq!((words(b"net\na1"), words(b"net\r")), (Err(Wrong::Control), Err(Wrong::Control)));
    }
}
