//! What this machine, or the cgroup we run in, really has.
