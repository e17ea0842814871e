//! Headers of tar entries, always the same bytes for the same entry.
//!
//! POSIX ustar, with a PAX record only for what it cannot say (a name over 255 bytes or not in ASCII, a link target over
//! 100 bytes). Numbers that octal digits cannot hold are written in GNU's base-256, which every reader knows. Owners are
//! numbers: the names are left empty, for an image's users are those of its own `/etc/passwd`.

/// Size of a tar block, bytes.
pub const BLOCK: u64 = 512;

/// The modification time of everything, seconds since 1970: Nix's choice, as 0 means "unknown" to some programs.
const MTIME: u64 = 1;

/// `bytes` rounded up to whole blocks.
pub fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK)
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Relative path; that of a directory ends in a slash.
    pub name: &'a [u8],
    /// File, directory or link.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes that follow.
    pub size: u64,
    /// Target of a link, else empty.
    pub target: &'a [u8],
}

impl Header<'_> {
    /// Appends the header's blocks.
    pub fn write(&self, out: &mut Vec<u8>) {
        let place = split(self.name);
        let mut records = Vec::new();
        let long_target = self.target.len() > 100 || !self.target.is_ascii();
        if (place.is_none() || long_target) && !(is_utf8(self.name) && is_utf8(self.target)) {
            record(&mut records, "hdrcharset", b"BINARY");
        }
        if long_target {
            record(&mut records, "linkpath", self.target);
        }
        if place.is_none() {
            record(&mut records, "path", self.name);
        }
        if !records.is_empty() {
            // A constant name: writers that put their process id here make archives that are never the same twice.
            let size = records.len() as u64;
            let head = Header { name: b"PaxHeader", kind: Kind::File, mode: 0o644, uid: 0, gid: 0, size, target: b"" };
            head.block(out, b'x', (b"", head.name));
            out.extend_from_slice(&records);
            out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        }
        let flag = match self.kind {
            Kind::File => b'0',
            Kind::Directory => b'5',
            Kind::Symlink => b'2',
        };
        self.block(out, flag, place.unwrap_or((b"", cut(self.name, 100))));
    }

    /// Bytes that [`Header::write`] appends.
    pub fn len(&self) -> u64 {
        if self.target.len() <= 100 && self.target.is_ascii() && split(self.name).is_some() {
            return BLOCK;
        }
        let mut out = Vec::new();
        self.write(&mut out);
        out.len() as u64
    }

    fn block(&self, out: &mut Vec<u8>, flag: u8, (prefix, name): (&[u8], &[u8])) {
        let mut block = [0u8; BLOCK as usize];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name);
        put(100, &number::<8>(self.mode.into()));
        put(108, &number::<8>(self.uid.into()));
        put(116, &number::<8>(self.gid.into()));
        put(124, &number::<12>(self.size));
        put(136, &number::<12>(MTIME));
        put(148, b"        ");
        put(156, &[flag]);
        put(157, cut(self.target, 100));
        put(257, b"ustar\x0000");
        put(345, prefix);
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        // Six digits, NUL, space: the one field that is terminated like this.
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&block);
    }
}

/// Prefix and name as ustar's two fields hold them, or nothing when it takes a PAX record.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The first slash that leaves a name short enough; a directory's last slash is no place to split at.
    let inner = &name[..name.len() - 1];
    let from = name.len() - 101;
    let at = from + inner.get(from..)?.iter().position(|&byte| byte == b'/')?;
    (at <= 155).then(|| (&name[..at], &name[at + 1..]))
}

fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

fn cut(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

/// A number as zero-padded octal digits and NUL, or where they do not suffice in base 256, its first bit set.
fn number<const N: usize>(value: u64) -> [u8; N] {
    let mut field = [0; N];
    if value < 1 << (3 * (N - 1)) {
        field[..N - 1].copy_from_slice(format!("{value:0width$o}", width = N - 1).as_bytes());
    } else {
        for (byte, of_value) in field.iter_mut().rev().zip(value.to_le_bytes()) {
            *byte = of_value;
        }
        field[0] |= 0x80;
    }
    field
}

/// Appends a PAX record: its own length in decimal, a space, key, equals sign, value, newline.
fn record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(name: &'a [u8], target: &'a [u8], size: u64) -> Vec<u8> {
        let kind = if target.is_empty() { Kind::File } else { Kind::Symlink };
        let header = Header { name, kind, mode: 0o444, uid: 0, gid: 0, size, target };
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!(out.len() as u64, header.len());
        out
    }

    #[test]
    fn a_pax_record_counts_its_own_length() {
        for (length, says) in [(1, "9 path="), (2, "11 path="), (90, "99 path="), (91, "101 path=")] {
            let mut out = Vec::new();
            record(&mut out, "path", &vec![b'a'; length]);
            assert!(out.starts_with(says.as_bytes()), "{}", String::from_utf8_lossy(&out));
            let digits: usize = says.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(out.len(), digits);
        }
    }

    #[test]
    fn names_take_one_block_where_ustar_can_say_them() {
        let long = |parts: &[usize]| parts.iter().map(|&n| "x".repeat(n)).collect::<Vec<_>>().join("/").into_bytes();
        for (parts, blocks) in [
            (&[100][..], 1),
            (&[101], 3),
            (&[155, 100], 1),
            (&[156, 99], 3),
            (&[155, 101], 3),
            (&[50, 50, 50, 50], 1),
            (&[90, 1, 90], 1),
        ] {
            assert_eq!(header(&long(parts), b"", 0).len(), blocks * 512, "{parts:?}");
        }
        assert_eq!(header("ä".as_bytes(), b"", 0).len(), 3 * 512);
        assert_eq!(header(b"a", &[b't'; 100], 0).len(), 512);
        assert_eq!(header(b"a", &[b't'; 101], 0).len(), 3 * 512);
    }

    #[test]
    fn sizes_past_eight_gibibytes_are_binary() {
        assert_eq!(&header(b"a", b"", (1 << 33) - 1)[124..136], b"77777777777\0");
        assert_eq!(&header(b"a", b"", 1 << 33)[124..136], b"\x80\0\0\0\0\0\0\x02\0\0\0\0");
    }
}
