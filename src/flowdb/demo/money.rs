//! Mobile money: transactions between acquaintances, with a row for each party's whereabouts.

use std::ops::Range;

use super::World;
use super::copy::{Rows, days, moment};
use super::dice::Purpose;
use super::traffic::minute;

/// Kinds of transaction: description, who pays, who gets. Their ids count from 1.
pub const TYPES: [[&str; 3]; 4] = [
    ["cash in", "agent", "subscriber"],
    ["cash out", "subscriber", "agent"],
    ["transfer", "subscriber", "subscriber"],
    ["payment", "subscriber", "merchant"],
];
/// Columns of `dfs.transactions`, in the order of [`World::transactions`]' fields.
pub const TRANSACTIONS: &str = "id, amount, discount, fee, commission, transtype_id, \"timestamp\"";
/// Columns of `dfs.transactions_metadata`, likewise.
pub const METADATA: &str = "transaction_id, subscriber_id, cell_id, cell_version, is_outgoing";
/// Ids of one day: more than the most people that are allowed.
const IDS_A_DAY: i64 = 10_000_000;

impl World {
    /// Appends a day's transactions of a range of people, and for each its two rows of metadata.
    pub fn transactions(&self, day: u32, people: Range<u32>, transactions: &mut Rows, metadata: &mut Rows) {
        let date = self.date(day);
        // Every third person has an account and uses it every eighth day.
        for index in people.filter(|index| index % 3 == 0) {
            let mut dice = self.dice(Purpose::Money, index, day);
            if !dice.chance(125) {
                continue;
            }
            let id = i64::from(days(date)) * IDS_A_DAY + i64::from(index);
            let micros = self.time(day, &mut dice);
            let amount = 100 * u64::from(dice.skewed(4, 12));
            let (fee, kind) = (amount / 100, 1 + dice.weighted(&[25, 25, 35, 15]) as i32);
            transactions.row(7).bigint(id).hundredths(amount).hundredths(0).hundredths(fee).hundredths(fee / 2);
            transactions.int(kind).timestamp(moment(date, micros));
            let friend = self.people[index as usize].friends[0];
            for (who, outgoing) in [(index, true), (friend, false)] {
                let cell = self.plan(who, day).at(minute(micros));
                let site = self.network.cells[cell as usize].site;
                metadata.row(5).bigint(id).bigint(i64::from(who) + 1).text(&self.network.cells[cell as usize].id);
                metadata.int(self.network.placement(site, day) as i32).boolean(outgoing);
            }
        }
    }
}
