//! Calls, texts, data sessions, top-ups and mobile money of one day.
//!
//! Each kind is drawn from streams of its own, one a person and day, so the rows of any range of people can be made at any
//! time, in any order, by any thread, and are always the same.

use std::ops::Range;

use super::World;
use super::copy::{Rows, moment};
use super::dice::{Dice, Purpose};
use super::handsets::Kind as Handset;
use super::people::Person;

/// The event tables that are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// `events.calls`: two rows a call.
    Calls,
    /// `events.sms`: two rows a text message.
    Sms,
    /// `events.mds`: mobile data sessions.
    Mds,
    /// `events.topups`.
    Topups,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 4] = [Event::Calls, Event::Sms, Event::Mds, Event::Topups];

    /// The table's name in schema `events`, and the event's in FlowETL's records.
    pub fn name(self) -> &'static str {
        match self {
            Event::Calls => "calls",
            Event::Sms => "sms",
            Event::Mds => "mds",
            Event::Topups => "topups",
        }
    }

    /// Whether its rows name another subscriber.
    pub fn has_counterparts(self) -> bool {
        matches!(self, Event::Calls | Event::Sms)
    }

    /// The columns, in the order of [`World::events`]' fields.
    pub fn columns(self) -> &'static str {
        match self {
            Event::Calls => {
                "id, outgoing, datetime, duration, network, msisdn, msisdn_counterpart, location_id, imsi, imei, tac, \
                 operator_code, country_code"
            }
            Event::Sms => {
                "id, outgoing, datetime, network, msisdn, msisdn_counterpart, location_id, imsi, imei, tac, \
                 operator_code, country_code"
            }
            Event::Mds => {
                "id, datetime, duration, volume_total, volume_upload, volume_download, msisdn, location_id, imsi, imei, \
                 tac, operator_code, country_code"
            }
            Event::Topups => {
                "id, datetime, type, recharge_amount, airtime_fee, tax_and_fee, pre_event_balance, post_event_balance, \
                 msisdn, location_id, imsi, imei, tac, operator_code, country_code"
            }
        }
    }
}

/// How likely a telephone is used in each hour, on working days and at weekends.
const HOURS: [[u32; 24]; 2] = [
    [2, 1, 1, 1, 1, 3, 8, 14, 18, 20, 20, 19, 18, 17, 17, 18, 20, 24, 28, 30, 26, 18, 10, 5],
    [5, 3, 2, 1, 1, 2, 4, 7, 12, 16, 20, 22, 20, 18, 17, 17, 18, 20, 24, 26, 24, 18, 12, 8],
];
/// How often each friend is called, the best one first.
const AFFECTION: [u32; super::people::FRIENDS] = [30, 20, 14, 10, 9, 7, 6, 4];
/// No operator and no country has these codes: 999 is for private networks.
const OPERATOR: u64 = 1;
const COUNTRY: u64 = 999;

impl World {
    /// Appends the rows of one kind of event on one day for a range of people (those who begin the event).
    pub fn events(&self, event: Event, day: u32, people: Range<u32>, rows: &mut Rows) {
        for index in people {
            match event {
                Event::Calls => self.calls(index, day, rows),
                Event::Sms => self.texts(index, day, rows),
                Event::Mds => self.sessions(index, day, rows),
                Event::Topups => self.topups(index, day, rows),
            }
        }
    }

    fn calls(&self, index: u32, day: u32, rows: &mut Rows) {
        let mut dice = self.dice(Purpose::Calls, index, day);
        let count = dice.successes(2 * u32::from(self.people[index as usize].activity), 350);
        // Half of the calls are short; a few last long.
        self.conversations(index, day, count, &mut dice, |dice| Some(dice.skewed(5, 11)), rows);
    }

    fn texts(&self, index: u32, day: u32, rows: &mut Rows) {
        let mut dice = self.dice(Purpose::Sms, index, day);
        let count = dice.successes(u32::from(self.people[index as usize].activity), 350);
        self.conversations(index, day, count, &mut dice, |_| None, rows);
    }

    /// Both sides of each conversation that a person begins, with one id.
    fn conversations(
        &self,
        index: u32,
        day: u32,
        count: u32,
        dice: &mut Dice,
        duration: impl Fn(&mut Dice) -> Option<u32>,
        rows: &mut Rows,
    ) {
        if count == 0 {
            return;
        }
        let plan = self.plan(index, day);
        for _ in 0..count {
            let (id, micros, duration) = (dice.bits(), self.time(day, dice), duration(dice));
            let minute = minute(micros);
            let other = self.people[index as usize].friends[dice.weighted(&AFFECTION)];
            let here = self.observed(plan.at(minute), dice);
            let there = self.observed(self.plan(other, day).at(minute), dice);
            let time = moment(self.date(day), micros);
            let [person, counterpart] = [index, other].map(|who| &self.people[who as usize]);
            self.conversation(&Half { id, time, duration, person, counterpart, cell: here, outgoing: true }, rows);
            let (person, counterpart) = (counterpart, person);
            self.conversation(&Half { id, time, duration, person, counterpart, cell: there, outgoing: false }, rows);
        }
    }

    /// One row of `events.calls` (with a duration) or `events.sms`.
    fn conversation(&self, half: &Half, rows: &mut Rows) {
        rows.row(if half.duration.is_some() { 13 } else { 12 });
        rows.hex(&half.id.to_be_bytes()).boolean(half.outgoing).timestamp(half.time);
        if let Some(seconds) = half.duration {
            rows.numeric(seconds.into());
        }
        let smart = self.models[usize::from(half.person.model)].kind == Handset::Smart;
        rows.text(if smart { "4G" } else { "2G" });
        rows.hex(&half.person.msisdn).hex(&half.counterpart.msisdn);
        self.common(half.person, half.cell, rows);
    }

    /// What all tables end with: location_id, imsi, imei, tac, operator_code, country_code.
    fn common(&self, person: &Person, cell: u32, rows: &mut Rows) {
        rows.text(&self.network.cells[cell as usize].id).hex(&person.imsi).hex(&person.imei);
        rows.numeric(u64::from(self.models[usize::from(person.model)].tac)).numeric(OPERATOR).numeric(COUNTRY);
    }

    fn sessions(&self, index: u32, day: u32, rows: &mut Rows) {
        let person = &self.people[index as usize];
        let likely = match self.models[usize::from(person.model)].kind {
            Handset::Basic => return,
            Handset::Feature => 100,
            Handset::Smart => 450,
        };
        let mut dice = self.dice(Purpose::Mds, index, day);
        let plan = self.plan(index, day);
        for _ in 0..dice.successes(3 * u32::from(person.activity), likely) {
            let (id, micros) = (dice.bits(), self.time(day, &mut dice));
            let cell = self.observed(plan.at(minute(micros)), &mut dice);
            let duration = dice.skewed(6, 12);
            // Kilobytes; people read more than they write.
            let down = u64::from(dice.skewed(6, 17));
            let up = down / u64::from(2 + dice.below(20));
            rows.row(13).hex(&id.to_be_bytes()).timestamp(moment(self.date(day), micros));
            rows.numeric(u64::from(duration)).numeric(up + down).numeric(up).numeric(down).hex(&person.msisdn);
            self.common(person, cell, rows);
        }
    }

    fn topups(&self, index: u32, day: u32, rows: &mut Rows) {
        let mut dice = self.dice(Purpose::Topups, index, day);
        if !dice.chance(300) {
            return;
        }
        let person = &self.people[index as usize];
        let (id, micros) = (dice.bits(), self.time(day, &mut dice));
        let cell = self.observed(self.plan(index, day).at(minute(micros)), &mut dice);
        let kind = *dice.one_of(&["voucher", "electronic", "credit transfer"]);
        // All in hundredths. People top up when little is left.
        let amount = 100 * u64::from([50u32, 100, 200, 500, 1_000][dice.weighted(&[20, 40, 20, 15, 5])]);
        let (fee, tax) = (amount / 50, amount / 10);
        let before = u64::from(dice.below(3_000));
        rows.row(15).hex(&id.to_be_bytes()).timestamp(moment(self.date(day), micros)).text(kind);
        rows.hundredths(amount).hundredths(fee).hundredths(tax).hundredths(before);
        rows.hundredths(before + amount - fee - tax).hex(&person.msisdn);
        self.common(person, cell, rows);
    }

    /// A moment of a day, in microseconds since midnight.
    pub fn time(&self, day: u32, dice: &mut Dice) -> u64 {
        let hour = dice.weighted(&HOURS[usize::from(self.is_weekend(day))]) as u64;
        hour * 3_600_000_000 + u64::from(dice.below(3_600_000_000))
    }

    pub(super) fn dice(&self, purpose: Purpose, index: u32, day: u32) -> Dice {
        Dice::new(self.seed, purpose, u64::from(index), u64::from(day))
    }
}

/// The minute of the day.
pub fn minute(micros: u64) -> u16 {
    (micros / 60_000_000) as u16
}

/// One side of a conversation.
struct Half<'a> {
    id: u64,
    time: i64,
    duration: Option<u32>,
    person: &'a Person,
    counterpart: &'a Person,
    cell: u32,
    outgoing: bool,
}
