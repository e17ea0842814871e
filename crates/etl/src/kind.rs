//! The four kinds of events, as FlowDB keeps them.

use std::fmt;

use time::Date;
use time::macros::format_description;

/// The columns of a day that get an index: the subscriber, by whom the table is sorted (FlowETL's `cluster_field`); the cell; and the time, as
/// FlowMachine cuts days into pieces. FlowETL's other two (`msisdn_counterpart`, `tac`) no query of FlowMachine's gains by, and they take 21 of
/// the 48 MiB that all five do (docs/tuning.md, "How a day's rows lie").
pub const INDEXES: [&str; 3] = ["msisdn", "location_id", "datetime"];

/// A kind of events: a table of schema `events`, with a partition for each day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Telephone calls.
    Calls,
    /// Text messages.
    Sms,
    /// Sessions of mobile data.
    Mds,
    /// Money put on a prepaid card.
    Topups,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `text` that identifies something: a line break in it is a stray quote's work.
    Text,
    /// `text` in words, which may have tabs between them, and no line break either.
    Words,
    /// `boolean`
    Boolean,
    /// `timestamptz`
    Timestamp,
    /// `numeric`
    Numeric,
    /// `numeric(8)`: a whole number of at most eight digits.
    Digits8,
}

/// A column of an event table.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub r#type: Type,
}

impl Column {
    /// Whether FlowDB refuses a row without it.
    pub fn is_needed(&self) -> bool {
        matches!(self.name, "msisdn" | "datetime")
    }

    /// Its type in SQL.
    pub fn sql(&self) -> &'static str {
        match self.r#type {
            Type::Text | Type::Words => "text",
            Type::Boolean => "boolean",
            Type::Timestamp => "timestamptz",
            Type::Numeric => "numeric",
            Type::Digits8 => "numeric(8)",
        }
    }
}

/// A list of columns, in FlowDB's order.
macro_rules! columns {
    ($($name:ident $type:ident),* $(,)?) => { &[$(Column { name: stringify!($name), r#type: Type::$type }),*] };
}

const CALLS: &[Column] = columns![
    id Text, outgoing Boolean, datetime Timestamp, duration Numeric, network Words, msisdn Text, msisdn_counterpart Text,
    location_id Text, imsi Text, imei Text, tac Digits8, operator_code Numeric, country_code Numeric,
];
const SMS: &[Column] = columns![
    id Text, outgoing Boolean, datetime Timestamp, network Words, msisdn Text, msisdn_counterpart Text, location_id Text,
    imsi Text, imei Text, tac Digits8, operator_code Numeric, country_code Numeric,
];
const MDS: &[Column] = columns![
    id Text, datetime Timestamp, duration Numeric, volume_total Numeric, volume_upload Numeric, volume_download Numeric,
    msisdn Text, location_id Text, imsi Text, imei Text, tac Digits8, operator_code Numeric, country_code Numeric,
];
const TOPUPS: &[Column] = columns![
    id Text, datetime Timestamp, type Text, recharge_amount Numeric, airtime_fee Numeric, tax_and_fee Numeric,
    pre_event_balance Numeric, post_event_balance Numeric, msisdn Text, location_id Text, imsi Text, imei Text,
    tac Digits8, operator_code Numeric, country_code Numeric,
];

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Calls, Kind::Sms, Kind::Mds, Kind::Topups];

    /// The name of its table and of its `cdr_type`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Calls => "calls",
            Kind::Sms => "sms",
            Kind::Mds => "mds",
            Kind::Topups => "topups",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its columns, in FlowDB's order.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Kind::Calls => CALLS,
            Kind::Sms => SMS,
            Kind::Mds => MDS,
            Kind::Topups => TOPUPS,
        }
    }

    /// Whether an event has two parties, each with a row of its own.
    pub fn has_counterparts(self) -> bool {
        matches!(self, Kind::Calls | Kind::Sms)
    }

    /// The name of a day's partition in schema `events`.
    pub fn partition(self, date: Date) -> String {
        let day = date.format(format_description!("[year][month][day]")).expect("a date has year, month and day");
        format!("{}_{day}", self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
