//! `flowkit db demo` on a real FlowDB.

mod load;
