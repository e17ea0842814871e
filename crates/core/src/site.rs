//! Where a deployment, or one role of it, is at home.

use crate::config::{Settings, StateDir};
use crate::secrets::Store;

/// What whoever works for a deployment is given: its state directory, its settings, and where its secrets are found. A role has
/// its own view of it, with the settings and secrets that are the role's.
#[derive(Clone)]
pub struct Site {
    /// Where its files are.
    pub state: StateDir,
    /// How it is set up.
    pub settings: Settings,
    /// Where its secrets are found.
    pub store: Store,
}
