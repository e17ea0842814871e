//! Files of call detail records into FlowDB, a day at a time. What a day leaves there is what a DAG of FlowETL 1.34.0 leaves that
//! is told to cluster by subscriber: names, indexes, records, checks.
//!
//! ```text
//! kind      calls, sms, mds, topups: their columns and indexes
//! source    a file, whatever it is compressed with and encoded in
//! records   records out of it          moment, value    what is in them, as PostgreSQL wants it
//! row       a record becomes a row of a day, or is refused   rejects   where that is written down
//! sort      by subscriber, in bounded memory
//! read      all that, for a day
//! plan      which day which files are
//! day       into FlowDB: filled, attached, recorded         checks    what FlowETL looks at afterwards
//! load      several days side by side                       session   connections, and threads that have them
//! status    what is there, day by day
//! guess     what a sample of a file looks like
//! features  what geographical files hold
//! cells     where cells are, and since when
//! areas     which of their attributes are what             geography they become a level of schema geography
//! ```
//!
//! What can be read is untrusted: nothing in it ends the program or makes it take more memory than it was given. Whenever the
//! loader, the server or the machine is killed, a day is there whole or not at all, and the next run goes on.

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod areas;
mod cells;
mod checks;
mod day;
mod error;
mod features;
mod geography;
mod guess;
mod kind;
mod load;
mod moment;
mod plan;
mod read;
mod records;
mod rejects;
mod row;
mod session;
mod sort;
mod source;
mod status;
mod value;

#[cfg(test)]
mod properties;

pub use encoding_rs::Encoding;

pub use areas::{Areas, Column as AreaColumn, LEVELS, NoAreas, areas};
pub use cells::{Cells, Changed, Unsound, apply, cells};
pub use error::Error;
pub use features::{Reading, System, Unreadable};
pub use geography::{Before, Found, Gaps, Leave, NotLoaded, geography};
pub use guess::{Guess, Guessed, Misfit, NoGuess, guess};
pub use kind::{Column, INDEXES, Kind, Type};
pub use load::{Options, Outcome, Progress, load};
pub use moment::{Moments, Writing, Zone};
pub use plan::{Day, NoPlan, Partial, of_local, plan};
pub use read::{Read, Unfit, Wanted, read};
pub use records::{Batch, Broken, Record, Records, Shape};
pub use rejects::{Limit, rejects_of};
pub use row::{Format, Key, Layout, Reason, Rows, WrongColumns};
pub use session::{BoxedError, Connect, runtime, session, side_by_side};
pub use sort::Sorted;
pub use source::{Compression, Input};
pub use status::{Leftover, State, Status, status};
