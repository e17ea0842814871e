//! The ground over real sockets.

mod answers;
mod limits;
mod logs;
mod rig;
mod stop;
mod tls;
