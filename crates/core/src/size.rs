//! Sizes as people and PostgreSQL write them. The one grammar: whoever reads a size reads it here.

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// One gibibyte.
pub const GIB: u64 = 1 << 30;

/// Reads a size in bytes: `1000`, `512MB`, `1.5 GB`, `16GiB`. Every unit is a power of 1024, as PostgreSQL's are, whichever way
/// it is spelt, so that `16GB` means the same here as there; a bare number is bytes. A part of a byte is dropped.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let (whole, part) = match number.split_once('.') {
        // Half a byte is a mistake; so is a point without digits on both sides.
        Some((whole, part)) if shift > 0 && !whole.is_empty() && (1..=18).contains(&part.len()) => (whole, part),
        Some(_) => return None,
        None => (number, ""),
    };
    let bytes = u128::from(whole.parse::<u64>().ok()?) << shift;
    let part = match part {
        "" => 0,
        digits => (u128::from(digits.parse::<u64>().ok()?) << shift) / 10u128.pow(digits.len() as u32),
    };
    u64::try_from(bytes + part).ok()
}

/// A size in PostgreSQL's units, in the largest that divides it; parts of a kilobyte are dropped.
pub fn exact(bytes: u64) -> String {
    let kilobytes = bytes >> 10;
    for (shift, unit) in [(30, "TB"), (20, "GB"), (10, "MB")] {
        if kilobytes > 0 && kilobytes.trailing_zeros() >= shift {
            return format!("{}{unit}", kilobytes >> shift);
        }
    }
    format!("{kilobytes}kB")
}

/// A size for people: whole mebibytes below 10 GiB, gibibytes with one digit above.
pub fn rounded(bytes: u64) -> String {
    if bytes < 10 * GIB { format!("{} MiB", bytes / MIB) } else { format!("{:.1} GiB", bytes as f64 / GIB as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_the_same_everywhere() {
        for (text, wanted) in [
            ("16GB", Some(16 * GIB)),
            ("16 GiB", Some(16 * GIB)),
            (" 16g ", Some(16 * GIB)),
            ("1.5GB", Some(GIB * 3 / 2)),
            ("0.1kB", Some(102)),
            ("128kB", Some(131_072)),
            ("1TB", Some(1 << 40)),
            ("42B", Some(42)),
            ("16", Some(16)),
            ("1.5", None),
            (".5GB", None),
            ("1.GB", None),
            ("GB", None),
            ("", None),
            ("-1GB", None),
            ("1..5GB", None),
            ("1e3", None),
            ("16777216TB", None),
            ("99999999999999999999", None),
            ("16GB'\nfsync = off", None),
        ] {
            assert_eq!(parse(text), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_size_is_read_back(kilobytes in 0u64..1 << 50) {
            let bytes = kilobytes << 10;
            prop_assert_eq!(parse(&exact(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_upsets_the_parser(text in "\\PC*|[0-9.]{0,40}[kMGT]?B?") {
            let _ = parse(&text);
        }
    }
}
