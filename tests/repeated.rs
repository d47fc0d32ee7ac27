//! What has to be said in several places is said alike: statuses and their names, defaults of options, code and files in
//! CONTRIBUTING.md. Each test names what is missing.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::path::Path;

use losskit as _;

const TYPES: &str = include_str!("../src/ffi/types.rs");
const HEADER: &str = include_str!("../include/losskit.h");
const CPP: &str = include_str!("../include/losskit.hpp");
const CONTRIBUTING: &str = include_str!("../CONTRIBUTING.md");

unsafe extern "C" {
    safe fn lk_status_name(status: i32) -> *const c_char;
}

/// What stands after `begin`, up to `end`.
fn after<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(between, _)| between)
}

/// The statuses that the header defines.
fn statuses() -> Vec<(&'static str, i32)> {
    let constants = TYPES.lines().filter_map(|line| after(line, "pub const ", ": lk_status"));
    let number = |name: &str| after(HEADER, &format!("#define {name} "), "\n").and_then(|number| number.parse().ok());
    constants.map(|name| (name, number(name).unwrap_or_else(|| panic!("{name} is not in the header")))).collect()
}

#[test]
fn every_status_has_its_name() {
    assert!(statuses().len() > 20);
    for (name, status) in statuses() {
        // SAFETY: a constant string for any number
        let given = unsafe { CStr::from_ptr(lk_status_name(status)) };
        assert_eq!(given.to_str(), Ok(name), "lk_status_name({status}), in src/ffi/status.rs");
    }
}

#[test]
fn every_error_of_rust_has_the_number_of_its_status() {
    let source = include_str!("../src/error.rs");
    let arms = after(source, "pub const fn status(&self)", "\n    }\n}").expect("the numbers").lines();
    let arms =
        arms.filter_map(|line| line.trim().strip_prefix("Error::")?.trim_end_matches(',').split_once(" { .. } => "));
    let mut numbers: BTreeMap<String, i32> = BTreeMap::new();
    for (variant, number) in arms {
        let mut name = "LK".to_owned();
        for letter in variant.chars() {
            if letter.is_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        numbers.insert(name, number.parse().expect("a number"));
    }
    for (name, status) in statuses().into_iter().filter(|&(_, status)| status < 0) {
        assert_eq!(numbers.remove(name), Some(status), "{name} in src/error.rs");
    }
    assert!(numbers.is_empty(), "statuses without a constant in src/ffi/types.rs: {numbers:?}");
}

#[test]
fn every_status_is_in_the_cpp_header() {
    let list = after(CPP, "enum class status : lk_status {", "};").expect("the statuses");
    let found: Vec<_> = list.split(',').filter_map(|entry| entry.trim().split_once(" = ")).collect();
    for (name, _) in statuses() {
        let own = name.trim_start_matches("LK_").to_lowercase();
        assert!(found.contains(&(own.as_str(), name)), "{own} = {name} is missing in include/losskit.hpp");
    }
    assert_eq!(found.len(), statuses().len());
}

/// A number as written in any of the languages, or the last part of a constant's name.
fn plain(value: &str) -> String {
    let value = value.trim().replace('_', "").to_lowercase();
    match value.parse::<f64>() {
        _ if value.contains("null") => "null".to_owned(),
        Ok(number) => number.to_string(),
        Err(_) => value.rsplit("::").next().unwrap_or_default().trim_start_matches("lktd").to_owned(),
    }
}

/// Fields and defaults of the initialiser macros, by the structs' names.
fn initialisers() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    // a macro of two lines is one line
    let header: &'static str = Box::leak(HEADER.replace("\\\n    ", "").into_boxed_str());
    let values = header.lines().filter_map(|line| {
        let (_, values) = line.strip_prefix("#define LK_")?.split_once("_PARAMS_INIT { sizeof(")?;
        values.trim_end_matches(" }").split_once("), ")
    });
    let with_fields = |(name, values): (&'static str, &'static str)| {
        let fields =
            after(TYPES, &format!("pub struct {name} {{"), "}").unwrap_or_else(|| panic!("{name}: no such struct"));
        let fields = fields.lines().filter_map(|line| after(line, "pub ", ":")).filter(|field| *field != "struct_size");
        let (fields, values): (Vec<_>, Vec<_>) = (fields.collect(), values.split(',').map(plain).collect());
        assert_eq!(fields.len(), values.len(), "fields of {name} and values of its initialiser in cbindgen.toml");
        (name, fields.into_iter().zip(values).collect())
    };
    values.map(with_fields).collect()
}

#[test]
fn null_stands_for_the_initialiser() {
    assert_eq!(initialisers().len(), 8);
    for (name, defaults) in initialisers() {
        let given = after(TYPES, &format!("|| {name} {{"), "}").unwrap_or_else(|| panic!("{name} has no defaults"));
        let given: Vec<_> = given.split(',').filter_map(|field| field.trim().split_once(": ")).collect();
        for (field, value) in defaults {
            let found = given.iter().find(|found| found.0 == field).map(|found| plain(found.1));
            assert_eq!(found, Some(value), "{name}.{field} in src/ffi/types.rs");
        }
    }
}

#[test]
fn options_of_cpp_begin_as_the_initialisers_do() {
    for (name, defaults) in initialisers() {
        let own = match name.trim_start_matches("lk_").trim_end_matches("_params") {
            "selective_log_softmax" => "token_options".to_owned(),
            loss => format!("{loss}_options"),
        };
        let fields = after(CPP, &format!("struct {own} {{"), "\n};").unwrap_or_else(|| panic!("{own}: no such struct"));
        for (field, value) in defaults {
            let found = after(fields, &format!(" *{field} = "), ";").or(after(fields, &format!(" {field} = "), ";"));
            // an output that there need not be
            let found = found.map(plain).or(after(fields, &format!(" {field}{{}}"), ";").map(|_| "null".to_owned()));
            assert_eq!(found, Some(value), "{own}::{field} in include/losskit.hpp");
        }
    }
}

#[test]
fn the_example_of_a_loss_is_code_of_the_library() {
    let (_, code) = CONTRIBUTING.split_once("```rust\n").expect("there is an example");
    let (code, _) = code.split_once("```\n").expect("it ends");
    for item in code.split("\n\n").filter(|item| !item.is_empty()) {
        assert!(include_str!("../src/loss/mse.rs").contains(item), "src/loss/mse.rs has no such code:\n{item}");
    }
}

#[test]
fn files_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in CONTRIBUTING.split('`').skip(1).step_by(2) {
        let is_path = name.contains('/') && !name.contains([' ', '*', '<', '{', '$']);
        assert!(!is_path || root.join(name).exists(), "there is no {name}");
    }
}
