//! The supervisor against real processes. Each file is a section of the manual's promises; each test says what is given, what
//! happens and what must follow. `FLOWKIT_TEST_ROUNDS` raises the number of repetitions of those that depend on chance.

mod confined;
mod control;
mod doubles;
mod dying;
mod logs;
mod notify;
mod pid1;
mod postgres;
mod removed;
mod restarts;
pub mod rig;
mod signals;
mod spawning;
