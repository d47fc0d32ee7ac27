//! The binary interface is the one recorded in `abi.txt`: functions, constants, and where each field of each struct lies,
//! as a C compiler (`CC`, or cc) sees them in `include/losskit.h`. `LOSSKIT_BLESS=1` writes the file anew, for a change
//! that is meant; if programs made with the old header would break, `LK_ABI_VERSION` has to grow with it.
//!
//! `tests/c_programs.rs` holds the libraries' exported symbols against the header.
#![cfg(all(unix, target_pointer_width = "64"))]

use std::path::Path;
use std::process::Command;

const HEADER: &str = include_str!("../include/losskit.h");
const RECORDED: &str = include_str!("abi.txt");

/// A declaration of the header, its white space made single.
enum Declaration {
    /// Name and fields.
    Struct(String, Vec<String>),
    Type(String),
    Function(String),
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |code, part| code + part.split_once("*/").expect("comments end").1)
}

/// `int64_t sum[72]` and `double *cost` are fields `sum` and `cost`.
fn field_name(field: &str) -> String {
    let name = field.rsplit([' ', '*']).next().unwrap_or_default();
    name.split('[').next().unwrap_or_default().to_owned()
}

fn declarations() -> Vec<Declaration> {
    // a macro of two lines is one line
    let code = without_comments(&HEADER.replace("\\\n", ""));
    let code: String = code.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    // the short forms are no part of the library
    let code = code.split("static inline").next().expect("text before it").replacen("extern \"C\" {", "", 1);
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(end) = rest.find(';') {
        let statement = squeezed(&rest[..end]);
        if let Some(body) = rest[..end].find('{') {
            let (fields, after) = rest[body + 1..].split_once('}').expect("a struct ends");
            let (name, after) = after.split_once(';').expect("a struct has a name");
            let fields = fields.split(';').map(squeezed).filter(|field| !field.is_empty()).collect();
            found.push(Declaration::Struct(name.trim().to_owned(), fields));
            rest = after;
            continue;
        }
        rest = &rest[end + 1..];
        match statement.strip_prefix("typedef ") {
            // of lk_context, programs know the name alone
            Some(forward) if forward.starts_with("struct ") => found.push(Declaration::Type(forward.to_owned())),
            Some(alias) => found.push(Declaration::Type(alias.to_owned())),
            None => found.push(Declaration::Function(statement)),
        }
    }
    assert_eq!(rest.trim(), "}  // extern \"C\"", "all is read");
    found
}

/// Names of the constants that the header defines; its initialisers are checked where they are used.
fn constants() -> Vec<&'static str> {
    let lines = HEADER.lines().filter_map(|line| line.strip_prefix("#define LK_"));
    let pairs = lines.filter_map(|line| line.split_once(' '));
    let numbers = pairs.filter(|(_, value)| value.trim().parse::<i64>().is_ok());
    numbers.map(|(name, _)| name).collect()
}

/// C statements that print a declaration.
fn printing(declaration: &Declaration) -> String {
    match declaration {
        Declaration::Type(alias) if alias.starts_with("struct ") => {
            format!("puts(\"struct {} is opaque\");\n", field_name(alias))
        }
        Declaration::Type(alias) => {
            let name = field_name(alias);
            let arguments = format!("sizeof({name}), ({name})-1 < 0 ? \"signed\" : \"unsigned\"");
            format!("printf(\"type {name}: %zu bytes, %s\\n\", {arguments});\n")
        }
        Declaration::Struct(name, fields) => {
            let mut text = format!("printf(\"struct {name}: %zu bytes\\n\", sizeof({name}));\n");
            for field in fields {
                let own = field_name(field);
                let arguments = format!("offsetof({name}, {own}), sizeof((({name} *)0)->{own})");
                text += &format!("printf(\"    at %zu, %zu bytes: {field}\\n\", {arguments});\n");
            }
            text
        }
        Declaration::Function(prototype) => format!("puts(\"{prototype}\");\n"),
    }
}

/// What a C program prints that was compiled against the header.
fn interface() -> String {
    let mut source = String::from("#include <stdio.h>\n#include \"losskit.h\"\nint main(void)\n{\n");
    for name in constants() {
        source += &format!("printf(\"constant LK_{name}: %lld\\n\", (long long)LK_{name});\n");
    }
    declarations().iter().for_each(|declaration| source += &printing(declaration));
    source += "return 0;\n}\n";

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (file, program) = (folder.join("abi.c"), folder.join("abi"));
    std::fs::write(&file, source).expect("the folder is ours");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut cc = Command::new(compiler);
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", "include"]).arg(&file).arg("-o");
    let status = cc.arg(&program).current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("a C compiler is there");
    assert!(status.success(), "{} does not compile", file.display());
    let printed = Command::new(program).output().expect("it starts").stdout;
    String::from_utf8(printed).expect("it prints text")
}

#[test]
fn the_interface_is_the_recorded_one() {
    let text = interface();
    if std::env::var_os("LOSSKIT_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/abi.txt"), &text).expect("tests/ is writable");
        return;
    }
    for (line, recorded) in text.lines().zip(RECORDED.lines()) {
        assert_eq!(line, recorded, "the interface is not that of tests/abi.txt");
    }
    assert_eq!(text.lines().count(), RECORDED.lines().count(), "one goes on where the other ends");
}

/// Nothing of the header is overlooked.
#[test]
fn the_record_holds_all_of_the_header() {
    let declared = |start: &str| RECORDED.lines().filter(|line| line.starts_with(start)).count();
    let written = |what: &str| HEADER.matches(what).count();
    assert_eq!(declared("type ") + declared("struct "), written("typedef "));
    // the initialisers, some of them with arguments, the version that is made of its parts, and the include guard
    assert_eq!(declared("constant "), written("#define ") - 15);
    assert_eq!(declared("lk_status lk_") + declared("const char *lk_"), written("\nlk_status lk_") + 4);
}
