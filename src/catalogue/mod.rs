//! What each role is, read from the embedded `roles/*.toml`.
