//! The `Authorization` header.

use crate::Refused;

/// The token in an `Authorization` header. As upstream reads it: the fields between commas are looked through for the first
/// one whose word is `Bearer`, in exactly this spelling, and it must hold one word more.
///
/// # Errors
/// [`Refused::Missing`] without a header or with an empty one, [`Refused::BadHeader`] otherwise.
pub fn bearer(header: Option<&str>) -> Result<&str, Refused> {
    let header = header.filter(|header| !header.is_empty()).ok_or(Refused::Missing)?;
    let field = header.split(',').map(str::split_whitespace).find(|words| words.clone().next() == Some("Bearer"));
    let mut words = field.ok_or(Refused::BadHeader)?.skip(1);
    match (words.next(), words.next()) {
        (Some(token), None) => Ok(token),
        _ => Err(Refused::BadHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_that_says_bearer_is_taken() {
        for (header, token) in [
            ("Bearer abc", "abc"),
            ("Bearer   abc  ", "abc"),
            ("Basic dXNlcg==, Bearer abc", "abc"),
            ("Bearer abc, Bearer def", "abc"),
            (", Bearer abc", "abc"),
        ] {
            assert_eq!(bearer(Some(header)), Ok(token), "{header}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(bearer(None), Err(Refused::Missing));
        assert_eq!(bearer(Some("")), Err(Refused::Missing));
        for header in ["abc", "Bearer", "bearer abc", "BEARER abc", "Bearer a b", "Basic abc", "Bearer, abc", " ", ","]
        {
            assert_eq!(bearer(Some(header)), Err(Refused::BadHeader), "{header}");
        }
    }
}
