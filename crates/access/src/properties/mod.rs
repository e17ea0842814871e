//! Properties, each against a slow and obvious reference, and hostile input of every kind: `PROPTEST_CASES=1000000` runs them
//! long.

mod hostile;
mod permissions;
