//! The walls of a host: between roles, and between root and everybody else. What people may do in the database is tried in
//! `flowdb`.

mod burglar;
mod host;
mod redis;
mod upgrade;
