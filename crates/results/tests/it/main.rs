//! Results out of a real PostgreSQL.

mod columns;
mod memory;
mod random;
mod rig;
mod stream;
mod values;
