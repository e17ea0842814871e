//! The files as a whole.

use std::collections::BTreeSet;

use super::*;

#[test]
fn no_name_is_said_twice_and_every_use_resolves() {
    let all = catalogue();
    let mut seen = BTreeSet::new();
    let spellings = all
        .secrets()
        .flat_map(Secret::spellings)
        .chain(all.settings().flat_map(Setting::spellings))
        .collect::<Vec<_>>();
    for name in spellings {
        assert!(seen.insert(name), "{name} is there twice");
    }
    for role in all.roles() {
        for used in &role.uses {
            let owner = all.owner(used).unwrap_or_else(|| panic!("{} uses {used}, which nobody owns", role.name));
            assert_ne!(owner.name, role.name, "{used} is its own");
        }
    }
}
