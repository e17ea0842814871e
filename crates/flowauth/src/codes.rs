//! Codes of a second factor: an authenticator app's (RFC 6238, as upstream has it: SHA-1, six digits, 30 seconds), and backup codes.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::RngExt as _;
use subtle::ConstantTimeEq as _;
use totp_rs::{Builder, Secret, Totp};

/// Backup codes of a user, as many and as long as upstream's.
pub const BACKUP_CODES: usize = 16;
const BACKUP_LENGTH: usize = 10;

/// Seconds of a step.
const STEP: u64 = 30;

/// A new secret of 160 bits, in base32.
pub fn new_secret() -> String {
    Secret::new_stack(rand::random()).to_base32()
}

/// Codes that each let in once.
pub fn new_backup_codes() -> Vec<String> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    let mut code = || (0..BACKUP_LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    (0..BACKUP_CODES).map(|_| code()).collect()
}

/// The time step for which this is the secret's code, with so many steps to either side of now taken too. The caller takes each step
/// once. `None`: it is no code of now.
pub fn step(secret: &str, code: &str, now: u64, window: u16) -> Option<u64> {
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    (digits.len() == 6).then(|| totp(secret, window)?.check(&digits, now)).flatten()
}

/// The code of a moment.
pub fn code(secret: &str, now: u64) -> Option<String> {
    Some(totp(secret, 0)?.generate(now / STEP * STEP).to_string())
}

fn totp(secret: &str, window: u16) -> Option<Totp> {
    let secret = Secret::try_from_base32(secret).ok()?;
    // Upstream's older secrets have 80 bits, which the library calls too few.
    Some(Builder::new().with_secret(secret).with_skew(window).with_step_duration(STEP).build_noncompliant())
}

/// The backup code that is meant, if it can be one; the dash and the blanks that people read into it are none of it.
pub fn backup_code(given: &str) -> Option<String> {
    let given: String = given.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    (given.len() == BACKUP_LENGTH).then_some(given)
}

/// Whether a backup code is this one.
pub fn is_backup_code(code: &str, given: &str) -> bool {
    backup_code(given).is_some_and(|given| given.as_bytes().ct_eq(code.as_bytes()).into())
}

/// What an authenticator app reads out of the picture.
pub fn provisioning_url(issuer: &str, user: &str, secret: &str) -> String {
    let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut url = format!("otpauth://totp/{}:{}?secret={secret}", quoted(issuer), quoted(user));
    // Writing to memory can't fail.
    let _ = write!(url, "&issuer={}", quoted(issuer));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the last six digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (now, expected) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(code(secret, now).unwrap(), expected);
            assert_eq!(step(secret, expected, now, 0), Some(now / 30));
        }
    }

    #[test]
    fn a_code_is_good_for_its_own_step_and_the_window() {
        let secret = new_secret();
        assert_eq!(secret.len(), 32);
        let now = 1_795_478_387;
        let before = code(&secret, now - 30).unwrap();
        assert_eq!(step(&secret, &before, now, 1), Some(now / 30 - 1));
        assert_eq!(step(&secret, &format!(" {} {} ", &before[..3], &before[3..]), now, 1), Some(now / 30 - 1));
        assert_eq!(step(&secret, &before, now + 60, 1), None);
        for wrong in ["", "12345", "1234567", "abcdef", "１２３４５６"] {
            assert_eq!(step(&secret, wrong, now, 1), None, "{wrong}");
        }
    }

    #[test]
    fn backup_codes_are_all_different_and_read_with_a_dash_too() {
        let codes = new_backup_codes();
        let different: std::collections::BTreeSet<&String> = codes.iter().collect();
        assert!(different.len() == 16 && codes.iter().all(|code| code.len() == 10));
        let (a, b) = codes[0].split_at(5);
        assert!(is_backup_code(&codes[0], &format!(" {a}-{b}\n")));
        assert!(!is_backup_code(&codes[0], &codes[1]) && !is_backup_code(&codes[0], ""));
    }

    #[test]
    fn names_are_quoted_in_what_the_app_reads() {
        let url = provisioning_url("Flow Auth", "a:b", "ABC");
        assert_eq!(url, "otpauth://totp/Flow%20Auth:a%3Ab?secret=ABC&issuer=Flow%20Auth");
    }
}
