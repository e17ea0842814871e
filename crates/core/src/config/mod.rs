//! The deployment's settings and where it keeps its state.
//!
//! A value comes from a flag, else a file of its own in /run/secrets, else the environment, else the settings file, else the
//! catalogue's default; it is checked
//! once, here, and remembers where it came from. All that is wrong is told in one report, and then nothing starts.

mod address;
pub mod file;
mod pools;
mod problem;
mod settings;
mod state;

pub use address::{bracketed, exact, followed, from_here, is_everywhere, is_private};
pub use pools::Pools;
pub use problem::{Problem, Problems};
pub use settings::{Origin, RUN_SECRETS, Settings, Variables, variable, variables};
pub use state::StateDir;
