//! The include file of `postgresql.conf`.

use super::Plan;
use flowkit_core::size::rounded;
use postgres::tuning::{comment, lines};

impl Plan {
    /// The file's text.
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
        text + &lines(&self.settings)
    }
}
