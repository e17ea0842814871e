//! Cuts a stream of bytes into lines, and lines that are too long into pieces.

/// Longest piece of a line. Docker cuts records at 16 KiB; ours stay below that with their prefix.
pub const PIECE: usize = 15 << 10;

/// The beginning of a line whose end has not come.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives lines: each without its line break, `true` when the line goes on in the next.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8], bool)) {
        while let Some(end) = memchr(bytes) {
            let (head, tail) = bytes.split_at(end);
            self.whole(head, &mut line);
            bytes = &tail[1..];
        }
        self.hold(bytes, &mut line);
    }

    /// Gives what has come of a line without waiting for its end: a part when the stream goes on.
    pub fn flush(&mut self, goes_on: bool, mut line: impl FnMut(&[u8], bool)) {
        if !self.rest.is_empty() {
            line(&self.rest, goes_on);
            self.rest.clear();
        }
    }

    /// Whether a line has begun.
    pub fn is_open(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The end of a line has come.
    fn whole(&mut self, head: &[u8], line: &mut impl FnMut(&[u8], bool)) {
        if self.rest.is_empty() && head.len() <= PIECE {
            return line(head, false);
        }
        self.hold(head, line);
        line(&self.rest, false);
        self.rest.clear();
    }

    /// Keeps the beginning of a line; gives pieces that are full. A full piece waits for one more byte, so that a line of
    /// exactly [`PIECE`] bytes is not followed by an empty one.
    fn hold(&mut self, mut bytes: &[u8], line: &mut impl FnMut(&[u8], bool)) {
        while self.rest.len() + bytes.len() > PIECE {
            let (head, tail) = bytes.split_at(boundary(bytes, PIECE - self.rest.len()));
            self.rest.extend_from_slice(head);
            line(&self.rest, true);
            self.rest.clear();
            bytes = tail;
        }
        self.rest.extend_from_slice(bytes);
    }
}

/// The last place up to `at` that is not inside of a character of UTF-8.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let starts = |at: &usize| bytes[*at] & 0b1100_0000 != 0b1000_0000;
    (at.saturating_sub(3)..=at).rev().find(starts).unwrap_or(at)
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line, part| out.push((line.to_vec(), part)));
        }
        lines.flush(false, |line, part| out.push((line.to_vec(), part)));
        out
    }

    #[test]
    fn lines_are_whole_whatever_the_chunks() {
        let expected = vec![
            (b"one".to_vec(), false),
            (b"".to_vec(), false),
            (b"two\r".to_vec(), false),
            (b"\0\xff".to_vec(), false),
        ];
        assert_eq!(cut(&[b"one\n\ntwo\r\n\0\xff"]), expected);
        assert_eq!(cut(&[b"o", b"ne", b"\n", b"\ntw", b"o\r\n", b"\0", b"\xff"]), expected);
    }

    #[test]
    fn a_line_of_one_piece_is_not_marked_and_one_byte_more_is() {
        let mut exact = vec![b'x'; PIECE];
        exact.push(b'\n');
        assert_eq!(cut(&[&exact]), vec![(vec![b'x'; PIECE], false)]);
        exact.insert(0, b'x');
        assert_eq!(cut(&[&exact]), vec![(vec![b'x'; PIECE], true), (b"x".to_vec(), false)]);
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        let line = format!("{}ü!\n", "x".repeat(PIECE - 1)).into_bytes();
        let whole = cut(&[&line]);
        assert_eq!(whole, vec![(vec![b'x'; PIECE - 1], true), ("ü!".into(), false)]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_no_piece_is_too_long(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..2000),
            repeat in 1usize..40,
            chunk in 1usize..5000,
        ) {
            let bytes = bytes.repeat(repeat);
            let chunks: Vec<&[u8]> = bytes.chunks(chunk).collect();
            let pieces = cut(&chunks);
            let mut back = Vec::new();
            for (piece, part) in &pieces {
                prop_assert!(piece.len() <= PIECE && !piece.contains(&b'\n'));
                back.extend_from_slice(piece);
                if !part {
                    back.push(b'\n');
                }
            }
            if bytes.last().is_some_and(|byte| *byte != b'\n') {
                back.pop();
            }
            prop_assert_eq!(back, bytes);
        }
    }
}
