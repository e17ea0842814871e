//! A process supervisor that knows nothing of FlowKit: services are data ([`Service`]), the rest is behaviour.

mod service;

pub use service::{Alive, Command, Kind, OnDependency, Probe, Restart, Service, StopStep, User};
