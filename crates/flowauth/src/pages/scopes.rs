//! Scopes as a tree: 628 of them, and a page that is small and can be used. A part of a name is a branch.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::Page;

/// One scope to be ticked, or several that begin alike.
pub struct Leaf {
    /// Its name, in parts divided by colons.
    pub name: String,
    /// What the form sends.
    pub value: String,
    /// Whether it is ticked.
    pub ticked: bool,
    /// What is said beside it.
    pub note: String,
}

#[derive(Default)]
struct Branch<'a> {
    leaf: Option<&'a Leaf>,
    below: BTreeMap<&'a str, Branch<'a>>,
}

impl<'a> Branch<'a> {
    /// All that are below it.
    fn leaves(&self) -> Vec<&'a Leaf> {
        self.below.values().flat_map(|below| below.leaf.into_iter().chain(below.leaves())).collect()
    }
}

/// Boxes of one field for all leaves, branches closed at first. `more`: each large branch can be ticked whole, with script at once and
/// without by asking the server, which is sent the field `tick`.
pub fn tree(page: &Page, field: &str, leaves: &[Leaf], more: bool) -> Markup {
    let mut root = Branch::default();
    for leaf in leaves {
        let mut branch = &mut root;
        for part in leaf.name.split(':') {
            branch = branch.below.entry(part).or_default();
        }
        branch.leaf = Some(leaf);
    }
    html! {
        div .tree data-tree data-search=(page.t("scopes.search")) data-select=(page.t("scopes.all")) data-clear=(page.t("scopes.none")) data-cy="RoleScopePicker" {
            ul { (level(page, field, &root, "", more)) }
        }
    }
}

fn level(page: &Page, field: &str, branch: &Branch<'_>, path: &str, more: bool) -> Markup {
    html! {
        // What stands alone comes first: actions, of which every role needs some.
        @for (part, leaf) in branch.below.iter().filter_map(|(part, below)| Some((part, below.leaf?))) {
            li { label { input type="checkbox" name=(field) value=(leaf.value) checked[leaf.ticked]; (part)
                @if !leaf.note.is_empty() { " " small { (leaf.note) } } } }
        }
        @for (part, below) in branch.below.iter().filter(|(_, below)| !below.below.is_empty()) {
            @let all = below.leaves();
            @let ticked = all.iter().filter(|leaf| leaf.ticked).count();
            @let here = if path.is_empty() { (*part).to_owned() } else { format!("{path}:{part}") };
            li { details {
                summary { (part) " " i { (ticked) "/" (all.len()) } }
                @if more && path.is_empty() {
                    button .small name="tick" value=(here) aria-label={ (page.t("scopes.all")) ": " (part) } { (page.t("scopes.all")) }
                }
                ul { (level(page, field, below, &here, more)) }
            } }
        }
    }
}

/// Whether a scope is this one, or below it.
pub fn is_below(scope: &str, path: &str) -> bool {
    scope.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstream's tree has the scopes of `admin10` below `admin1` too.
    #[test]
    fn what_only_begins_alike_is_not_below() {
        assert!(is_below("admin1:flows", "admin1") && is_below("run", "run"));
        assert!(!is_below("admin10:flows", "admin1") && !is_below("admin1", "admin1:flows"));
    }
}
