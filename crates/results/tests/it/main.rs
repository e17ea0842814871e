//! Results out of a real PostgreSQL.

mod columns;
mod memory;
mod rig;
mod stream;
mod values;
