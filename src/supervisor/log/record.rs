//! The form of one log record.

use std::cell::RefCell;

use time::OffsetDateTime;
use time::macros::format_description;

use super::Stream;
use crate::supervisor::options::LogFormat;

/// Writes records: text or JSON, with the service's name and the time in UTC to the millisecond.
pub struct Writer {
    /// Name padded to the longest, for text.
    padded: Vec<Vec<u8>>,
    /// Name as JSON, quotes included.
    quoted: Vec<Vec<u8>>,
    format: LogFormat,
    /// Escape codes are taken out: for a terminal, which must not be steered by a service.
    plain: bool,
    stamp: RefCell<(i128, Vec<u8>)>,
}

impl Writer {
    pub fn new(names: &[String], format: LogFormat, plain: bool) -> Writer {
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        Writer {
            padded: names.iter().map(|name| format!("{name:width$}").into_bytes()).collect(),
            quoted: names.iter().map(|name| serde_json::Value::from(name.as_str()).to_string().into_bytes()).collect(),
            format,
            plain,
            stamp: RefCell::new((i128::MIN, Vec::new())),
        }
    }

    /// Appends one record; `part` when the line goes on in the next.
    pub fn line(&self, out: &mut Vec<u8>, service: usize, stream: Stream, line: &[u8], part: bool) {
        let stamp = self.stamp();
        match self.format {
            LogFormat::Text => {
                out.extend_from_slice(&stamp.1);
                out.push(b' ');
                out.extend_from_slice(&self.padded[service]);
                out.extend_from_slice(if part { b" + " } else { b" | " });
                if self.plain {
                    strip(line, out);
                } else {
                    out.extend_from_slice(line);
                }
            }
            LogFormat::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                out.extend_from_slice(&stamp.1);
                out.extend_from_slice(b"\",\"service\":");
                out.extend_from_slice(&self.quoted[service]);
                out.extend_from_slice(match stream {
                    Stream::Stdout => b",\"stream\":\"stdout\",\"line\":",
                    Stream::Stderr => b",\"stream\":\"stderr\",\"line\":",
                });
                let mut clean = Vec::new();
                strip(line, &mut clean);
                // Writing a string to memory can't fail.
                let _ = serde_json::to_writer(&mut *out, &String::from_utf8_lossy(&clean));
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

/// Copies a line without escape sequences and control bytes (a tab stays).
fn strip(line: &[u8], out: &mut Vec<u8>) {
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            0x1b => match bytes.next() {
                // A control sequence ends with a letter or one of @[\]^_`{|}~.
                Some(b'[') => while bytes.next().is_some_and(|byte| !(0x40..=0x7e).contains(&byte)) {},
                // An operating system command ends with BEL or ESC \.
                Some(b']') => {
                    while let Some(byte) = bytes.next() {
                        if byte == 0x07 || (byte == 0x1b && bytes.next_if_eq(&b'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            b'\t' => out.push(byte),
            0..0x20 | 0x7f => {}
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat, plain: bool, line: &[u8], part: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let names = ["db".to_owned(), "a-long-name".to_owned()];
        Writer::new(&names, format, plain).line(&mut out, 0, Stream::Stderr, line, part);
        out
    }

    #[test]
    fn text_keeps_every_byte() {
        let odd = b"\x00\xff\x1b[31mred\r";
        let out = written(LogFormat::Text, false, odd, false);
        let (stamp, rest) = out.split_at(24);
        assert!(stamp.ends_with(b"Z"), "{stamp:?}");
        assert_eq!(rest, [b" db          | ".as_slice(), odd, b"\n"].concat());
        let part = written(LogFormat::Text, false, b"x", true);
        assert_eq!(&part[24..], b" db          + x\n");
    }

    #[test]
    fn a_terminal_and_json_get_no_escape_codes() {
        let odd = b"a\x1b[1;31mb\x1b]0;title\x07c\x1b]2;x\x1b\\d\x08\te";
        assert!(written(LogFormat::Text, true, odd, false).ends_with(b"| abcd\te\n"));
        let json = written(LogFormat::Json, false, b"\"q\" \xff\x00", true);
        let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
        assert_eq!(value["line"], "\"q\" \u{fffd}");
        assert_eq!(
            (&value["service"], &value["stream"], &value["part"]),
            (&"db".into(), &"stderr".into(), &true.into())
        );
    }

    #[test]
    fn an_unfinished_escape_code_ends_with_the_line() {
        for odd in [b"x\x1b".as_slice(), b"x\x1b[", b"x\x1b]", b"x\x1b[12"] {
            assert!(written(LogFormat::Text, true, odd, false).ends_with(b"| x\n"));
        }
    }
}
