//! What PostgreSQL should be told, and why.
