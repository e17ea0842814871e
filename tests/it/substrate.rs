//! `tests/debian`, which stands for nixpkgs where there is no Nix cache: does its `lib` answer as nixpkgs' own?

use std::path::Path;
use std::process::Command;

use crate::support::skip::{Lack, skip};

/// What `tests/debian/lib/cases.nix` finds wrong with a `lib`, as JSON.
fn wrong(lib: &str) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(repository.join("scripts/nix.sh"))
        .current_dir(repository)
        .args(["eval", "--impure", "--json", "--expr"])
        .arg(format!("import ./tests/debian/lib/cases.nix {{ lib = import {lib}; }}"))
        .output()
        .expect("scripts/nix.sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

#[test]
fn its_lib_answers_as_the_cases_want() {
    assert_eq!(wrong("./tests/debian/lib"), "{}");
}

/// The same cases put to nixpkgs' own lib, where `NIXPKGS_LIB` names a checkout: they say what *it* does.
#[test]
fn so_does_the_lib_of_nixpkgs() {
    match std::env::var("NIXPKGS_LIB") {
        Ok(dir) => assert_eq!(wrong(&format!("{dir}/lib")), "{}"),
        Err(_) => skip(Lack::NixpkgsLib, "NIXPKGS_LIB names no checkout of nixpkgs' lib"),
    }
}
