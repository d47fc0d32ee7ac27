//! Every program and every command of the README and of the pages on installing and using losskit is run: by these
//! tests, by rustdoc, by `tests/install/run` or by `.ci/run`. A block of code that nothing runs makes a test fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Link, c, environment_or, libraries, out, program, root, run, stdout, strict_cpp};

const DOCUMENTS: [(&str, &str); 8] = [
    ("README.md", include_str!("../../README.md")),
    ("docs/installing.md", include_str!("../../docs/installing.md")),
    ("docs/from-pytorch.md", include_str!("../../docs/from-pytorch.md")),
    ("docs/autograd.md", include_str!("../../docs/autograd.md")),
    ("docs/losses.md", include_str!("../../docs/losses.md")),
    ("docs/options.md", include_str!("../../docs/options.md")),
    ("docs/cpp.md", include_str!("../../docs/cpp.md")),
    ("docs/examples.md", include_str!("../../docs/examples.md")),
];

/// A block of code.
#[derive(Clone, Copy)]
struct Block {
    document: &'static str,
    /// What follows the three backquotes.
    language: &'static str,
    text: &'static str,
}

/// The blocks of all documents, in order.
fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for (document, mut rest) in DOCUMENTS {
        while let Some((_, begin)) = rest.split_once("\n```") {
            let (language, code) = begin.split_once('\n').expect("a block has lines");
            let (text, after) = code.split_once("```").expect("a block ends");
            blocks.push(Block { document, language, text });
            rest = after;
        }
    }
    blocks
}

fn blocks_in(language: &str) -> Vec<Block> {
    blocks().into_iter().filter(|block| block.language == language).collect()
}

#[test]
fn every_block_of_the_documents_is_run() {
    for Block { document, language, text } in blocks() {
        match language {
            "c" | "cpp" => {
                assert!(text.contains("int main("), "{document}: no whole program, so it is not run:\n{text}")
            }
            "rust" => assert!(
                include_str!("../../src/lib.rs").contains(&format!("doc = include_str!(\"../{document}\")")),
                "{document}: rustdoc does not see it:\n{text}"
            ),
            "sh" => {
                if let Some(command) = commands(text).find(|command| !is_run_somewhere(document, text, command)) {
                    panic!("{document}: nobody runs \"{command}\"; tests/install/run could");
                }
            }
            "cmake" => assert!(
                include_str!("../install/run").contains(&format!("code {document} cmake"))
                    && blocks_in("cmake").len() == 1,
                "{document}: tests/install/run builds one project, not this:\n{text}"
            ),
            "toml" => {} // the_manifests_of_the_documents_are_right
            // it needs PyTorch; what it takes from the C header is compared with it
            "python" => assert_eq!(document, "docs/autograd.md"),
            other => panic!("{document}: nobody runs a block of \"{other}\":\n{text}"),
        }
    }
}

/// The commands of a block, without comments; one that goes on in further lines is one command.
fn commands(text: &str) -> impl Iterator<Item = String> {
    let lines = text.replace("\\\n", "");
    let lines: Vec<_> =
        lines.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect();
    lines.into_iter().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn is_run_somewhere(document: &str, text: &str, command: &str) -> bool {
    let by_continuous_integration = include_str!("../../.ci/run").lines().any(|line| {
        let step = line.strip_prefix("step \"").and_then(|step| step.split_once("\" "));
        step.is_some_and(|(_, run)| run.trim_end_matches(" LIBRARIES=tests") == command)
    });
    by_continuous_integration || is_run_by_installing(document, text, command)
}

/// Whether `tests/install/run` has a line such as `as_said DOCUMENT 'WORDS' 1`, for one command (or another number of
/// them), or `as_said DOCUMENT 'WORDS'`, for all from that which begins so to the block's end.
fn is_run_by_installing(document: &str, text: &str, command: &str) -> bool {
    let opening = format!("as_said {document} '");
    let commands: Vec<_> = commands(text).collect();
    let mut calls = include_str!("../install/run").split(&opening).skip(1);
    calls.any(|call| {
        let (words, rest) = call.split_once('\'').expect("a quoted string ends");
        let count = rest.split(|c: char| !c.is_ascii_digit()).nth(1).and_then(|count| count.parse().ok());
        let from = commands.iter().skip_while(|command| !command.starts_with(words));
        from.take(count.unwrap_or(usize::MAX)).any(|run| run == command)
    })
}

/// A folder for the files of a document, empty.
fn folder(name: &str) -> PathBuf {
    let folder = out().join("documents").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
    }
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    folder
}

/// What a program prints stands in comments, of its own or of the commands that follow it.
fn assert_said(block: Block, printed: &str) {
    let text = DOCUMENTS.iter().find(|(document, _)| *document == block.document).expect("it is one of them").1;
    let (_, after) = text.split_once(block.text).expect("the block is in its document");
    let commands = after.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let comments = [("//", block.text), ("/*", block.text), ("#", commands)].map(|(mark, text)| {
        text.lines().filter_map(|line| line.split_once(mark)).map(|(_, comment)| comment).collect::<Vec<_>>().join("\n")
    });
    assert!(!printed.is_empty(), "{}: it prints nothing:\n{}", block.document, block.text);
    for line in printed.lines() {
        let is_said = comments.iter().any(|comments| comments.contains(line));
        assert!(is_said, "{}: no comment says that it prints \"{line}\":\n{}", block.document, block.text);
    }
}

/// Programs in a language, as a reader would copy them; each prints what is said.
fn programs_run(language: &str, extension: &str, compiler: impl Fn() -> Option<Command>) {
    libraries();
    let folder = folder(language);
    let programs = blocks_in(language);
    assert!(programs.iter().any(|program| program.document == "README.md"), "the README has a program in {language}");
    for (i, block) in programs.into_iter().enumerate() {
        let name = format!("{language}{i}");
        let source = folder.join(&name).with_extension(extension);
        std::fs::write(&source, block.text).expect("the folder is ours");
        let object = source.with_extension("o");
        let Some(mut compiler) = compiler() else { return };
        run(compiler.arg("-c").arg(&source).arg("-o").arg(&object));
        for link in Link::BOTH {
            let linker = Command::new(compiler.get_program());
            assert_said(block, &stdout(&mut program(linker, &object, &format!("documents_{name}"), link)));
        }
    }
}

#[test]
fn the_c_programs_of_the_documents_print_what_is_said() {
    programs_run("c", "c", || Some(c()));
}

#[test]
fn the_cpp_programs_of_the_documents_print_what_is_said() {
    programs_run("cpp", "cpp", || strict_cpp("-std=c++20"));
}

/// The commands that build the README's first program, word for word, but for cargo's, whose library there is already.
#[cfg(target_os = "linux")]
#[test]
fn the_first_program_is_built_as_the_readme_says() {
    let folder = folder("first");
    let (program, commands) = (blocks_in("c")[0], blocks_in("sh")[0]);
    assert!((program.document, commands.document) == ("README.md", "README.md"));
    let link = |from: PathBuf, to: &str| std::os::unix::fs::symlink(from, folder.join(to)).expect("the folder is ours");
    std::fs::create_dir_all(folder.join("target/release")).expect("the folder is ours");
    link(root().join("include"), "include");
    link(libraries().join("liblosskit.a"), "target/release/liblosskit.a");
    std::fs::write(folder.join("first.c"), program.text).expect("the folder is ours");
    let compiler = environment_or("CC", "cc").into_string().expect("a name");
    let script = format!("set -e\ncargo() {{ :; }}\ncc() {{ command {compiler} \"$@\"; }}\n{}", commands.text);
    assert_said(program, &stdout(Command::new("sh").arg("-c").arg(script).current_dir(&folder)));
}

/// The first page of the Rust documentation has the lines for `Cargo.toml` that the README has.
#[test]
fn the_front_page_of_the_crate_has_the_manifest_of_the_readme() {
    let page = include_str!("../../src/lib.rs").lines().filter_map(|line| line.strip_prefix("//!"));
    let page: String = page.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
    let manifest = blocks_in("toml")[0];
    assert_eq!(manifest.document, "README.md");
    assert!(page.contains(&format!("```toml\n{}```\n", manifest.text)), "src/lib.rs:\n{page}");
}

/// A package with the lines of the documents in its `Cargo.toml` depends on losskit, and its debug build optimises it.
#[test]
fn the_manifests_of_the_documents_are_right() {
    let manifests = blocks_in("toml");
    assert_eq!(manifests.len(), 2);
    for (i, manifest) in manifests.into_iter().enumerate() {
        let folder = folder(&format!("toml{i}"));
        let package = folder.join("program");
        std::fs::create_dir_all(package.join("src")).expect("the folder is ours");
        std::os::unix::fs::symlink(root(), folder.join("losskit")).expect("the folder is ours");
        std::fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).expect("there is one");
        std::fs::write(package.join("src/main.rs"), "fn main() {}").expect("the folder is ours");
        let begin = "[package]\nname = \"program\"\nedition = \"2024\"\n\n";
        std::fs::write(package.join("Cargo.toml"), format!("{begin}{}", manifest.text)).expect("the folder is ours");
        let ours = cargo(&package, &["tree", "--offline", "--edges", "normal", "--depth", "1"]);
        assert!(ours.contains(concat!("losskit v", env!("CARGO_PKG_VERSION"))), "{}: {ours}", manifest.document);
        for line in ["[profile.dev.package.losskit]", "opt-level = 3", "debug-assertions = false"] {
            assert!(manifest.text.lines().any(|other| other == line), "{}: {line}", manifest.document);
        }
    }
}

fn cargo(package: &Path, arguments: &[&str]) -> String {
    let output = run(Command::new(env!("CARGO")).args(arguments).current_dir(package));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("unused") && !said.contains("did not match"), "{said}");
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Structs and constants of the example in Python are those of the C header.
#[test]
fn the_example_in_python_has_the_structs_of_the_header() {
    let [python] = blocks_in("python")[..] else { panic!("there is one") };
    let header = include_str!("../../include/losskit.h");
    for name in ["lk_class_shape", "lk_options"] {
        let (_, begin) = python.text.split_once(&format!("# {name}\n")).expect("it has the struct");
        let fields = begin.split("\n\n").next().expect("a struct ends");
        let fields: Vec<_> = fields.split('"').skip(1).step_by(2).collect();
        let (_, begin) = header.split_once(&format!("typedef struct {name} {{")).expect("the header has the struct");
        let lines = begin.split('}').next().expect("a struct ends").lines();
        let declarations = lines.filter(|line| line.ends_with(';') && !line.trim_start().starts_with('*'));
        let declared = declarations.filter_map(|line| line.trim_end_matches(';').rsplit([' ', '*']).next());
        assert_eq!(fields, declared.collect::<Vec<_>>(), "{name}");
    }
    let (names, values) = python
        .text
        .split_once("LK_MEAN, ")
        .and_then(|(_, rest)| rest.split_once('\n')?.0.split_once(" = "))
        .expect("constants");
    for (name, value) in format!("LK_MEAN, {names}").split(", ").zip(values.split(", ")) {
        assert!(header.contains(&format!("#define {name} {value}\n")), "{name}");
    }
}
