//! Which services each role runs, and in what order.
