//! The include file of `postgresql.conf`.

use std::fmt::Write;

use super::Plan;
use flowkit_core::size::rounded;

impl Plan {
    /// The file's text. Every value is quoted or a plain number ([`super::value::Value`] holds nothing that could end
    /// its line), and comments are cleaned, as they name cgroups and files that somebody else named.
    pub fn conf(&self) -> String {
        let mut text = String::from(
            "# Written by flowkit at every start of FlowDB: changes made here are lost.\n\
             # Variables change it (docs/tuning.md); `flowkit tune` explains it.\n",
        );
        let budget = format!(
            "Memory: {} of {} at most ({})",
            rounded(self.budget.total()),
            rounded(self.demand.memory),
            self.budget.describe()
        );
        comment(&mut text, &budget);
        for change in &self.fitted {
            comment(&mut text, &format!("Lowered to fit: {change}"));
        }
        for setting in &self.settings {
            text.push('\n');
            comment(&mut text, &format!("{} [{}]", setting.reason, setting.origin));
            // Writing to a String can't fail.
            let _ = writeln!(text, "{} = {}", setting.name, setting.value.quoted());
        }
        text
    }
}

/// One comment line, whatever the words hold.
fn comment(text: &mut String, words: &str) {
    let words: String =
        words.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    let _ = writeln!(text, "# {words}");
}
