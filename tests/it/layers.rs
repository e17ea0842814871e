//! What the sources promise: the arrows between modules, as drawn at the top of `src/lib.rs`, point downwards only; names are
//! of the catalogue.

use std::fs;
use std::path::Path;

use flowkit_core::catalogue::{Type, catalogue};

/// From low to high: a module may use itself and what its own entry allows. What stands below them all is crates.
const LAYERS: &[(&str, &[&str])] = &[
    ("failure", &[]),
    ("tuning", &[]),
    ("flowdb", &["tuning"]),
    ("redis_server", &[]),
    ("flowmachine", &["flowdb", "redis_server"]),
    ("verify", &["flowdb", "flowmachine"]),
    ("stack", &["tuning"]),
    ("roles", &["failure", "tuning", "flowdb", "redis_server", "flowmachine"]),
];

#[test]
fn modules_use_only_what_stands_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (module, allowed) in LAYERS {
        for (file, text) in sources(&src.join(module)) {
            // Test modules may reach further. Inline ones come last in a file; the others are files of that name.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for used in uses(code) {
                if used != *module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{file}: {module} uses {used}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point upwards:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules =
        root.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules.filter(|module| *module != "commands") {
        assert!(LAYERS.iter().any(|(name, _)| *name == module), "`{module}` is not in the picture of layers");
    }
}

/// How a setting is asked for, and the types that it may have then; an empty list takes any.
const ASKED: &[(&str, &[Type])] = &[
    (".text(", &[]),
    (".origin(", &[]),
    (".given_text(", &[]),
    (".int(", &[Type::Integer, Type::Seconds, Type::Bytes, Type::Port]),
    ("whole(settings, ", &[Type::Integer, Type::Seconds, Type::Bytes, Type::Port]),
    (".number(", &[Type::Number]),
    (".port(", &[Type::Port]),
    (".flag(", &[Type::Flag]),
];

/// A name that the catalogue lacks, or a type that it does not have, panics only on the day that it is asked for.
#[test]
fn every_setting_that_the_code_names_is_one_of_that_type() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut asked = 0;
    for (file, text) in sources(&root.join("src")).into_iter().chain(sources(&root.join("crates"))) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (method, types) in ASKED {
            // Arguments that rustfmt has put on a line of their own begin after blanks.
            let arguments = code.split(method).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
            // Columns of a table and places of a problem are asked for in the same words, but have no such names.
            let is_name = |name: &&str| name.contains('_') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            for name in arguments.filter_map(|rest| rest.split('"').next()).filter(is_name) {
                let setting = catalogue().setting(name).unwrap_or_else(|| panic!("{file}: there is no setting {name}"));
                assert_eq!(setting.name, name, "{file}: asked for by another spelling");
                let fits = types.is_empty() || types.contains(&setting.r#type);
                assert!(fits, "{file}: {method}\"{name}\"), which is of type {}", setting.r#type.name());
                asked += 1;
            }
        }
    }
    assert!(asked > 30, "only {asked} were found: has the way of asking changed?");
}

#[test]
fn every_file_of_tests_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut forgotten = Vec::new();
    for (file, _) in sources(&root) {
        let path = Path::new(&file);
        let (name, above) = (path.file_stem().unwrap().to_str().unwrap(), path.parent().unwrap());
        let (name, above) = if name == "mod" {
            (above.file_name().unwrap().to_str().unwrap(), above.parent().unwrap())
        } else {
            (name, above)
        };
        if path == root.join("main.rs") {
            continue;
        }
        let lists = [above.join("mod.rs"), above.join("main.rs"), above.with_extension("rs")];
        let listed = |list: &std::path::PathBuf| {
            let text = fs::read_to_string(list).unwrap_or_default();
            text.lines().any(|line| line.trim_start_matches("pub ").trim() == format!("mod {name};"))
        };
        if !lists.iter().any(listed) {
            forgotten.push(file);
        }
    }
    assert!(forgotten.is_empty(), "no module lists these, so nothing in them runs: {forgotten:?}");
}

/// First path segment after every `crate::`.
fn uses(code: &str) -> Vec<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let simple = code.split("crate::").skip(1).filter(|rest| !rest.starts_with('{')).map(name);
    // `use crate::{a, b::c};` names several modules at once.
    let grouped = code.split("crate::{").skip(1).filter_map(|rest| rest.split("};").next());
    let inside = grouped.flat_map(|group| {
        let mut depth = 0;
        let top = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        group.split(top).map(|part| name(part.trim())).collect::<Vec<_>>()
    });
    simple.chain(inside).filter(|name| !name.is_empty()).collect()
}

fn sources(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}
