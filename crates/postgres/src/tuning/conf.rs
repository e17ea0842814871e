//! Settings as lines of `postgresql.conf`.

use std::fmt::Write;

use super::Setting;

/// Each setting below its reason. Every value is quoted or a plain number ([`super::Value`] holds nothing that could end its
/// line), and comments are cleaned, as they name cgroups and files that somebody else named.
pub fn lines(settings: &[Setting]) -> String {
    let mut text = String::new();
    for setting in settings {
        text.push('\n');
        comment(&mut text, &format!("{} [{}]", setting.reason, setting.origin));
        // Writing to a String can't fail.
        let _ = writeln!(text, "{} = {}", setting.name, setting.value.quoted());
    }
    text
}

/// One comment line, whatever the words hold.
pub fn comment(text: &mut String, words: &str) {
    let words: String =
        words.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    let _ = writeln!(text, "# {words}");
}
