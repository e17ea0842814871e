//! Results out of a real PostgreSQL.

mod columns;
mod memory;
mod peers;
mod random;
mod rig;
mod stream;
mod values;
