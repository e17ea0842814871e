//! Results out of a real PostgreSQL.

mod rig;
mod values;
