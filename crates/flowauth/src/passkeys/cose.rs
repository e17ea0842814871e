//! Public keys as authenticators write them: COSE (RFC 9053), a map in CBOR (RFC 8949). Of CBOR there is as much here as such a key has:
//! whole numbers and bytes.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::Refusal;

/// What may be signed by, the best first: ECDSA on P-256, Ed25519, and RSA, which Windows has.
pub const ALGORITHMS: [i64; 3] = [-7, -8, -257];

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A point of P-256, uncompressed.
    P256([u8; 65]),
    /// A point of Curve25519.
    Ed25519(&'a [u8]),
    /// Modulus and exponent.
    Rsa(&'a [u8], &'a [u8]),
}

impl<'a> Key<'a> {
    /// Reads one, and tells what follows it.
    pub fn read(bytes: &'a [u8]) -> Result<(Key<'a>, &'a [u8]), Refusal> {
        let (map, rest) = map(bytes).ok_or(Refusal::Key)?;
        let number = |label| map.iter().find(|(at, _)| *at == label).and_then(|(_, value)| value.number());
        let text = |label| map.iter().find(|(at, _)| *at == label).and_then(|(_, value)| value.bytes());
        let key = match (number(1), number(3), number(-1)) {
            (Some(2), Some(-7), Some(1)) => point(text(-2), text(-3)).map(Key::P256),
            (Some(1), Some(-8), Some(6)) => text(-2).filter(|x| x.len() == 32).map(Key::Ed25519),
            (Some(3), Some(-257), _) => text(-1).zip(text(-2)).map(|(n, e)| Key::Rsa(n, e)),
            _ => None,
        };
        key.map(|key| (key, rest)).ok_or(Refusal::Key)
    }

    /// Whether this is its signature.
    pub fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        let verified = match self {
            Key::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(signed, signature),
            Key::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(signed, signature),
            Key::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature),
        };
        verified.map_err(|_| Refusal::Signature)
    }
}

fn point(x: Option<&[u8]>, y: Option<&[u8]>) -> Option<[u8; 65]> {
    let mut point = [4; 65];
    point[1..33].copy_from_slice(x.filter(|x| x.len() == 32)?);
    point[33..].copy_from_slice(y.filter(|y| y.len() == 32)?);
    Some(point)
}

/// A value of such a map.
enum Item<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    fn number(&self) -> Option<i64> {
        match self {
            Item::Number(number) => Some(*number),
            Item::Bytes(_) => None,
        }
    }

    fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Item::Number(_) => None,
            Item::Bytes(bytes) => Some(bytes),
        }
    }
}

/// A map's labels and values.
type Pairs<'a> = Vec<(i64, Item<'a>)>;

/// The pairs of a map, and what follows it.
fn map(bytes: &[u8]) -> Option<(Pairs<'_>, &[u8])> {
    let (5, count, mut rest) = head(bytes)? else { return None };
    let mut pairs = Vec::new();
    // A key has five pairs at most; the loop ends with the bytes in any case.
    for _ in 0..count {
        let (label, after) = item(rest)?;
        let (value, after) = item(after)?;
        pairs.push((label.number()?, value));
        rest = after;
    }
    Some((pairs, rest))
}

fn item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (kind, value, rest) = head(bytes)?;
    let number = i64::from(u32::try_from(value).ok()?);
    match kind {
        0 => Some((Item::Number(number), rest)),
        1 => Some((Item::Number(-1 - number), rest)),
        2 => rest.split_at_checked(usize::try_from(value).ok()?).map(|(own, rest)| (Item::Bytes(own), rest)),
        _ => None,
    }
}

/// What kind of thing follows, how much of it, and the rest.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let width = match first & 31 {
        few @ 0..=23 => return Some((first >> 5, u64::from(few), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(width)?;
    Some((first >> 5, number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_are_read_and_no_others() {
        let p256 =
            [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..], &[7; 32], &[0x22, 0x58, 32], &[8; 32], b"more"];
        let p256 = p256.concat();
        let (key, rest) = Key::read(&p256).unwrap();
        assert!(matches!(key, Key::P256(point) if point[0] == 4 && point[1] == 7 && point[64] == 8));
        assert_eq!(rest, b"more");
        let ed25519 = [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32][..], &[9; 32]].concat();
        assert_eq!(Key::read(&ed25519), Ok((Key::Ed25519(&[9; 32]), &[][..])));
        let rsa = [&[0xa4, 1, 3, 3, 0x39, 1, 0, 0x20, 0x59, 1, 0][..], &[5; 256], &[0x21, 0x43, 1, 0, 1]].concat();
        assert_eq!(Key::read(&rsa), Ok((Key::Rsa(&[5; 256], &[1, 0, 1]), &[][..])));
        // P-384, a point that is too short, a map in a map, one without end.
        let p384 =
            [&[0xa5, 1, 2, 3, 0x38, 34, 0x20, 2, 0x21, 0x58, 32][..], &[7; 32], &[0x22, 0x58, 32], &[8; 32]].concat();
        for wrong in [
            &p384[..],
            &ed25519[..30],
            &[0xa1, 1, 0xa0],
            &[0xbf, 1, 2, 0xff],
            &[0xba, 0xff, 0xff, 0xff, 0xff, 1, 2],
            b"",
        ] {
            assert_eq!(Key::read(wrong).unwrap_err(), Refusal::Key, "{wrong:?}");
        }
    }
}
