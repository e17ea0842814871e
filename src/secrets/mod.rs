//! Secrets: lookup, generation, rotation and checks.
