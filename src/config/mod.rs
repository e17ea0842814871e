//! The deployment's settings and where it keeps its state.
