//! AutoFlow: notebooks that run when new days of data have arrived, and reports of them. Upstream's format, table and names of files; its
//! faults mended.
//!
//! ```text
//! start       what it is told: settings, secrets, places
//! workflows   workflows.yml, checked
//! flowapi     which days there are
//! token       what is shown to it, and FlowAuth, which renews that
//! engine      what runs when: schedule, queue, signs of life
//! store       what has run, over SQLite or PostgreSQL; several may share it
//! attempt     one run from its claim to its end, written down
//! execute     its notebooks in order, then its reports
//! child       the processes between AutoFlow and a notebook: limits and walls
//! places      where files are, before and after
//! untrusted   those that notebooks had their hands on
//! page, table how it stands, for people
//! ```

// A dependency that nothing uses. Tests have some more, and each of their programs uses but a few.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

use clap as _; // of the program

pub mod attempt;
pub mod child;
pub mod engine;
pub mod execute;
pub mod flowapi;
pub mod page;
pub mod places;
pub mod run;
pub mod start;
pub mod store;
pub mod table;
pub mod token;
pub mod untrusted;
pub mod workflows;
