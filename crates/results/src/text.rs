//! Values as the text that all text formats share, written at the end of a buffer.

use crate::wire::{self, Malformed, Result};

/// Days from 0000-03-01 to PostgreSQL's day 0, 2000-01-01.
const DAYS_BEFORE: i64 = 730_425;
const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

/// "00" to "99".
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

pub(crate) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest digits that are read back as the same number, in Python's form: `1.0`, `1e+20`, `1e-07`. Only finite ones.
pub(crate) fn float8(out: &mut Vec<u8>, value: f64) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    // The one power of ten where the two differ on whether there is an exponent: 1.5e-05, not 0.000015.
    if (1e-5..1e-4).contains(&value.abs()) {
        return tiny(out, text);
    }
    float(out, text);
}

/// The same for single precision: `0.1`, not `0.10000000149011612`. Its digits are those of some other double, which has the form.
pub(crate) fn float4(out: &mut Vec<u8>, value: f32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    match text.parse() {
        Ok(same) => float8(out, same),
        Err(_) => float(out, text),
    }
}

/// Gives an exponent its sign and its second digit.
fn float(out: &mut Vec<u8>, text: &str) {
    let Some((digits, exponent)) = text.split_once('e') else { return out.extend_from_slice(text.as_bytes()) };
    out.extend_from_slice(digits.as_bytes());
    let (sign, exponent) = exponent.strip_prefix('-').map_or((b'+', exponent), |rest| (b'-', rest));
    out.extend_from_slice(&[b'e', sign]);
    if exponent.len() == 1 {
        out.push(b'0');
    }
    out.extend_from_slice(exponent.as_bytes());
}

/// `0.0000123` as `1.23e-05`.
fn tiny(out: &mut Vec<u8>, text: &str) {
    let Some((sign, digits)) = text.split_once("0.0000") else { return float(out, text) };
    out.extend_from_slice(sign.as_bytes());
    let (first, rest) = digits.split_at(1);
    out.extend_from_slice(first.as_bytes());
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest.as_bytes());
    }
    out.extend_from_slice(b"e-05");
}

/// A `numeric`: its sign and digits, or none of them.
pub(crate) enum Numeric<'a> {
    Finite { negative: bool, weight: i32, scale: usize, digits: &'a [[u8; 2]] },
    NaN,
    Infinity { negative: bool },
}

impl<'a> Numeric<'a> {
    pub(crate) fn read(mut bytes: &'a [u8]) -> Result<Numeric<'a>> {
        // Without a sign: the longest have 36,864 groups.
        let count = usize::from(u16::from_be_bytes(wire::take(&mut bytes)?));
        let weight = i32::from(wire::i16(&mut bytes)?);
        let sign = wire::i16(&mut bytes)? as u16;
        let scale = usize::try_from(wire::i16(&mut bytes)?).map_err(|_| Malformed)?;
        let (digits, rest) = bytes.as_chunks();
        if digits.len() != count || !rest.is_empty() {
            return Err(Malformed);
        }
        match sign {
            0x0000 | 0x4000 => Ok(Numeric::Finite { negative: sign != 0, weight, scale, digits }),
            0xc000 => Ok(Numeric::NaN),
            0xd000 | 0xf000 => Ok(Numeric::Infinity { negative: sign == 0xf000 }),
            _ => Err(Malformed),
        }
    }
}

impl Numeric<'_> {
    /// The float that is nearest.
    pub(crate) fn nearest(&self) -> f64 {
        match *self {
            Numeric::NaN => f64::NAN,
            Numeric::Infinity { negative } => {
                if negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
            Numeric::Finite { negative, weight, scale, digits } => {
                let mut text = Vec::new();
                numeric(&mut text, negative, weight, scale, digits);
                // They are digits, and all such are floats, the far ones infinite.
                str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
            }
        }
    }

    /// Itself times 10^places, where that is a whole number of at most 38 digits.
    pub(crate) fn scaled(&self, places: i32) -> Option<i128> {
        let Numeric::Finite { negative, weight, digits, .. } = *self else { return None };
        let mut value: i128 = 0;
        // What the last digit of a group is worth, as a power of ten.
        let mut power = 4 * weight + places;
        for digit in digits {
            let digit = i128::from(u16::from_be_bytes(*digit));
            // The last group may have zeros beyond the places.
            let beyond = u32::try_from(-power).unwrap_or(0);
            let kept = 4_u32.checked_sub(beyond)?;
            value = value.checked_mul(10_i128.pow(kept))?.checked_add(digit / 10_i128.pow(beyond))?;
            power -= 4;
        }
        // Groups of zeros at the end are not sent.
        let missing = u32::try_from(power + 4).unwrap_or(0);
        value = if value == 0 { 0 } else { value.checked_mul(10_i128.checked_pow(missing)?)? };
        Some(if negative { -value } else { value })
    }
}

/// All digits of a number in groups of four, the first of which is worth 10000^weight, with `scale` of them after the point.
pub(crate) fn numeric(out: &mut Vec<u8>, negative: bool, weight: i32, scale: usize, digits: &[[u8; 2]]) {
    // Groups that are not there are zero, on both sides.
    let group = |power: i32| {
        let at = usize::try_from(weight - power).ok().and_then(|at| digits.get(at));
        at.map_or(0, |digit| usize::from(u16::from_be_bytes(*digit)).min(9999))
    };
    if negative {
        out.push(b'-');
    }
    integer(out, group(weight.max(0)));
    for power in (0..weight).rev() {
        four(out, group(power));
    }
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + scale;
        let mut power = -1;
        while out.len() < end {
            four(out, group(power));
            power -= 1;
        }
        out.truncate(end);
    }
}

fn two(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&PAIRS[value]);
}

fn four(out: &mut Vec<u8>, value: usize) {
    let ([a, b], [c, d]) = (PAIRS[value / 100], PAIRS[value % 100]);
    out.extend_from_slice(&[a, b, c, d]);
}

/// A date: `2016-01-01`, `0044-03-15 BC`, `infinity`, as PostgreSQL prints it in its ISO style.
pub(crate) fn date(out: &mut Vec<u8>, days: i32) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        days => {
            let bc = calendar(out, i64::from(days));
            era(out, bc);
        }
    }
}

/// A timestamp, in microseconds; between day and time comes `between`, at the end `zone`.
pub(crate) fn timestamp(out: &mut Vec<u8>, microseconds: i64, between: u8, zone: &[u8]) {
    match microseconds {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        microseconds => {
            let bc = calendar(out, microseconds.div_euclid(MICROSECONDS_A_DAY));
            out.push(between);
            time(out, microseconds.rem_euclid(MICROSECONDS_A_DAY));
            out.extend_from_slice(zone);
            era(out, bc);
        }
    }
}

fn era(out: &mut Vec<u8>, bc: bool) {
    if bc {
        out.extend_from_slice(b" BC");
    }
}

/// The day in the Gregorian calendar, and whether its year is one before Christ.
///
/// Years begin in March here, so that the leap day is their last: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
fn calendar(out: &mut Vec<u8>, days: i64) -> bool {
    let days = days + DAYS_BEFORE;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (era * 400 + year, month + 3) } else { (era * 400 + year + 1, month - 9) };
    // There is no year 0: before 1 comes 1 BC.
    let shown = if year > 0 { year } else { 1 - year } as usize;
    if shown < 10_000 {
        four(out, shown)
    } else {
        integer(out, shown)
    }
    let ([a, b], [c, d]) = (PAIRS[month as usize], PAIRS[day as usize]);
    out.extend_from_slice(&[b'-', a, b, b'-', c, d]);
    year <= 0
}

/// A time of day in microseconds, up to 24:00:00; six digits of a fraction only where there is one.
pub(crate) fn time(out: &mut Vec<u8>, microseconds: i64) {
    let (seconds, fraction) = ((microseconds / 1_000_000) as usize, (microseconds % 1_000_000) as usize);
    let pair = |value: usize| PAIRS[value % 100];
    let ([a, b], [c, d], [e, f]) = (pair(seconds / 3600), pair(seconds / 60 % 60), pair(seconds % 60));
    out.extend_from_slice(&[a, b, b':', c, d, b':', e, f]);
    if fraction != 0 {
        out.push(b'.');
        two(out, fraction / 10_000);
        four(out, fraction % 10_000);
    }
}

/// A zone as its offset from UTC; `west` of it in seconds.
pub(crate) fn zone(out: &mut Vec<u8>, west: i32) {
    out.push(if west > 0 { b'-' } else { b'+' });
    let seconds = west.unsigned_abs() as usize;
    two(out, seconds / 3600 % 100);
    out.push(b':');
    two(out, seconds / 60 % 60);
    if !seconds.is_multiple_of(60) {
        out.push(b':');
        two(out, seconds % 60);
    }
}

/// Two digits a byte, in lower case.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

pub(crate) fn uuid(out: &mut Vec<u8>, bytes: [u8; 16]) {
    for (i, part) in [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].into_iter().enumerate() {
        if i > 0 {
            out.push(b'-');
        }
        hex(out, part);
    }
}
