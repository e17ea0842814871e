//! The form of one log record.

use std::borrow::Cow;
use std::cell::RefCell;

use time::OffsetDateTime;
use time::macros::format_description;

use super::Stream;

use crate::options::LogFormat;

/// Writes records: text or JSON, with the service's name and the time in UTC to the millisecond.
pub struct Writer {
    /// Name padded to the longest, for text.
    padded: Vec<Vec<u8>>,
    /// Name as JSON, quotes included.
    quoted: Vec<Vec<u8>>,
    format: LogFormat,
    stamp: RefCell<(i128, Vec<u8>)>,
}

impl Writer {
    pub fn new(names: &[String], format: LogFormat) -> Writer {
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        Writer {
            padded: names.iter().map(|name| format!("{name:width$}").into_bytes()).collect(),
            quoted: names.iter().map(|name| serde_json::Value::from(name.as_str()).to_string().into_bytes()).collect(),
            format,
            stamp: RefCell::new((i128::MIN, Vec::new())),
        }
    }

    /// Appends one record; `part` when the line goes on in the next.
    pub fn line(&self, out: &mut Vec<u8>, service: usize, stream: Stream, line: &[u8], part: bool) {
        let stamp = self.stamp();
        let line = line.strip_suffix(b"\r").filter(|_| !part).unwrap_or(line);
        match self.format {
            LogFormat::Text => {
                out.extend_from_slice(&stamp.1);
                out.push(b' ');
                out.extend_from_slice(&self.padded[service]);
                out.extend_from_slice(if part { b" + " } else { b" | " });
                out.extend_from_slice(&legible(line));
            }
            LogFormat::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                out.extend_from_slice(&stamp.1);
                out.extend_from_slice(b"\",\"service\":");
                out.extend_from_slice(&self.quoted[service]);
                out.extend_from_slice(match stream {
                    Stream::Stdout => b",\"stream\":\"stdout\"",
                    Stream::Stderr | Stream::Own(_) => b",\"stream\":\"stderr\"",
                });
                if let Stream::Own(level) = stream {
                    out.extend_from_slice(format!(",\"level\":\"{level}\"").as_bytes());
                }
                out.extend_from_slice(b",\"line\":");
                // Writing a string to memory can't fail.
                let _ = serde_json::to_writer(&mut *out, &String::from_utf8_lossy(&legible(line)));
                out.extend_from_slice(if part { b",\"part\":true}" } else { b"}" });
            }
        }
        out.push(b'\n');
    }

    /// The time now; written anew only when the millisecond has changed.
    fn stamp(&self) -> std::cell::Ref<'_, (i128, Vec<u8>)> {
        let now = OffsetDateTime::now_utc();
        let millis = now.unix_timestamp_nanos() / 1_000_000;
        if self.stamp.borrow().0 != millis {
            *self.stamp.borrow_mut() = (millis, stamp(now).into_bytes());
        }
        self.stamp.borrow()
    }
}

/// RFC 3339 with milliseconds.
pub fn stamp(time: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    time.format(form).unwrap_or_default()
}

/// A line as any terminal, pager or editor may show it: what would steer it is escaped, and so are bytes that are no UTF-8.
fn legible(line: &[u8]) -> Cow<'_, [u8]> {
    if line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::with_capacity(line.len() + 16);
    for chunk in line.utf8_chunks() {
        out.extend_from_slice(say::printable(chunk.valid()).as_bytes());
        chunk.invalid().iter().for_each(|byte| out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()));
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisors_own_lines_have_a_level_in_json() {
        let mut out = Vec::new();
        let names = ["supervisor".to_owned()];
        Writer::new(&names, LogFormat::Json).line(&mut out, 0, Stream::Own("warn"), b"x: not alive", false);
        let value: serde_json::Value = serde_json::from_slice(&out).expect("valid JSON");
        let seen = (&value["level"], &value["stream"], &value["line"]);
        assert_eq!(seen, (&"warn".into(), &"stderr".into(), &"x: not alive".into()));
    }

    fn written(format: LogFormat, line: &[u8], part: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let names = ["db".to_owned(), "a-long-name".to_owned()];
        Writer::new(&names, format).line(&mut out, 0, Stream::Stderr, line, part);
        out
    }

    #[test]
    fn text_is_what_a_terminal_may_show() {
        let odd = b"\x00\xff\x1b[31mred\x1b]0;title\x07 \xc2\x9b2J \xe2\x80\xae \xc3\xbc\t.\r";
        let out = written(LogFormat::Text, odd, false);
        let (stamp, rest) = out.split_at(24);
        assert!(stamp.ends_with(b"Z"), "{stamp:?}");
        let shown = "\\u{0}\\xff\\u{1b}[31mred\\u{1b}]0;title\\u{7} \\u{9b}2J \\u{202e} ü\t.";
        assert_eq!(String::from_utf8_lossy(rest), format!(" db          | {shown}\n"));
        let part = written(LogFormat::Text, b"x", true);
        assert_eq!(&part[24..], b" db          + x\n");
    }

    #[test]
    fn json_is_as_legible() {
        let json = written(LogFormat::Json, b"\"q\" \xff\x00", true);
        let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
        assert_eq!(value["line"], "\"q\" \\xff\\u{0}");
        assert_eq!(
            (&value["service"], &value["stream"], &value["part"]),
            (&"db".into(), &"stderr".into(), &true.into())
        );
    }
}
