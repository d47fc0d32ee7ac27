//! C and C++ programs, compiled against `include/losskit.h` with every warning an error, linked with the static and
//! with the shared library, and run. Compilers are `CC` (or cc) and `CXX` (or c++).
#![cfg(unix)]

#[path = "c_programs/documents.rs"]
mod documents;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo's folder for what tests make.
fn out() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_programs")
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).expect("programs print UTF-8")
}

fn environment_or(name: &str, default: &str) -> std::ffi::OsString {
    std::env::var_os(name).unwrap_or_else(|| default.into())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Static,
    Shared,
}

impl Link {
    const BOTH: [Link; 2] = [Link::Static, Link::Shared];
}

/// Both libraries: the example `c_library`, which is linked from what these tests are linked with, in the same profile.
/// Cargo is asked for it, for a change may have been followed by these tests alone. (How libraries are linked that others
/// get, tests/install/run looks at.)
fn libraries() -> &'static Path {
    static LIBRARIES: OnceLock<PathBuf> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        let test = std::env::current_exe().expect("the tests are in a file");
        let profile = test.ancestors().nth(2).expect("target, the profile's folder, deps");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "c_library", "--manifest-path"]).arg(root().join("Cargo.toml"));
        cargo.arg("--target-dir").arg(profile.parent().expect("target"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        run(&mut cargo);
        let (made, ours) = (profile.join("examples"), out());
        std::fs::create_dir_all(&ours).expect("the folder is ours");
        std::fs::copy(made.join("libc_library.a"), ours.join("liblosskit.a")).expect("cargo has made it");
        let shared = made.join(format!("libc_library.{}", if cfg!(target_os = "macos") { "dylib" } else { "so" }));
        std::fs::copy(shared, ours.join(shared_name())).expect("cargo has made it");
        ours
    })
}

fn shared_name() -> &'static str {
    if cfg!(target_os = "macos") { "liblosskit.dylib" } else { "liblosskit.so" }
}

fn shared_library() -> PathBuf {
    libraries().join(shared_name())
}

fn c() -> Command {
    let mut cc = Command::new(environment_or("CC", "cc"));
    cc.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread", "-I"])
        .arg(root().join("include"));
    cc
}

/// None if there is no C++ compiler and none was asked for.
fn cpp(standard: &str) -> Option<Command> {
    let compiler = environment_or("CXX", "c++");
    let is_there = Command::new(&compiler).arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there && std::env::var_os("CXX").is_none() {
        eprintln!("no C++ compiler: not tested");
        return None;
    }
    let mut cxx = Command::new(compiler);
    cxx.args([standard, "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread", "-I"]);
    cxx.arg(root().join("include"));
    Some(cxx)
}

/// Compiles and links a program, and gives a command that runs it.
fn program(mut compiler: Command, source: &Path, name: &str, link: Link) -> Command {
    let libraries = libraries();
    let program = out().join(format!("{name}-{link:?}"));
    compiler.arg(source).arg("-o").arg(&program);
    // what Rust's standard library needs from the system: see c_examples/Makefile
    let system: &[&str] =
        if cfg!(target_os = "macos") { &["-liconv", "-lSystem", "-lm"] } else { &["-lpthread", "-ldl", "-lm"] };
    match link {
        Link::Static => compiler.arg(libraries.join("liblosskit.a")).args(system),
        Link::Shared => {
            let rpath = format!("-Wl,-rpath,{}", libraries.display());
            compiler.arg("-L").arg(libraries).args(["-llosskit", &rpath, "-lm"])
        }
    };
    run(&mut compiler);
    let mut command = Command::new(program);
    command.current_dir(root());
    for variable in ["LOSSKIT_ISA", "LOSSKIT_NUM_THREADS"] {
        command.env_remove(variable);
    }
    command
}

fn test_program(file: &str, link: Link) -> Command {
    program(c(), &root().join("tests/c").join(file), file.trim_end_matches(".c"), link)
}

#[test]
fn header_compiles_alone_in_c_and_in_cpp() {
    let source = root().join("tests/c/header_alone.c");
    for standard in ["-std=c99", "-std=c11", "-std=c17"] {
        run(c().args([standard, "-fsyntax-only", "-Wstrict-prototypes"]).arg(&source));
    }
    for standard in ["-std=c++11", "-std=c++17", "-std=c++20"] {
        if let Some(mut cxx) = cpp(standard) {
            run(cxx.args(["-fsyntax-only", "-x", "c++"]).arg(&source));
        }
    }
}

#[test]
fn every_function_can_be_called_from_c_and_from_cpp() {
    let source = root().join("tests/c/every_function.c");
    for link in Link::BOTH {
        run(&mut program(c(), &source, "every_function", link));
        if let Some(mut cxx) = cpp("-std=c++11") {
            cxx.args(["-x", "c++"]);
            // the libraries are no C++ sources
            let object = out().join(format!("every_function-cpp-{link:?}.o"));
            run(cxx.arg("-c").arg(&source).arg("-o").arg(&object));
            let linker = Command::new(environment_or("CXX", "c++"));
            run(&mut program(linker, &object, "every_function-cpp", link));
        }
    }
}

/// A C++ compiler with the warnings that users of the C++ header may have.
fn strict_cpp(standard: &str) -> Option<Command> {
    let mut cxx = cpp(standard)?;
    cxx.args(["-Wconversion", "-Wsign-conversion", "-Wshadow"]);
    Some(cxx)
}

/// Compiles one C++ source of `tests/c/`.
fn cpp_object(file: &str, standard: &str) -> Option<PathBuf> {
    libraries(); // which make the folder
    let object = out().join(format!("{file}{standard}.o"));
    run(strict_cpp(standard)?.arg("-c").arg(root().join("tests/c").join(file)).arg("-o").arg(&object));
    Some(object)
}

#[test]
fn the_cpp_header_does_what_it_says() {
    for (standard, other) in [("-std=c++17", "-std=c++20"), ("-std=c++20", "-std=c++17")] {
        let objects = (cpp_object("cpp_interface.cpp", standard), cpp_object("cpp_elsewhere.cpp", other));
        let (Some(interface), Some(elsewhere)) = objects else { return };
        for link in Link::BOTH {
            let mut linker = Command::new(environment_or("CXX", "c++"));
            linker.arg(&elsewhere);
            run(&mut program(linker, &interface, &format!("cpp_interface{standard}"), link));
        }
    }
}

/// What C++ has to refuse: `tests/c/cpp_misuse.cpp`, case by case. Each is the compiler's only error, in one sentence. (With
/// std::span the first case of each sentence, for they take the compiler longer.)
#[test]
fn the_cpp_header_refuses_misuse_in_one_sentence() {
    let source = root().join("tests/c/cpp_misuse.cpp");
    for standard in ["-std=c++17", "-std=c++20"] {
        let Some(mut cxx) = strict_cpp(standard) else { return };
        run(cxx.arg("-fsyntax-only").arg(&source));
        let mut cases = misuses();
        if standard == "-std=c++20" {
            cases.dedup_by_key(|(_, sentence)| *sentence);
        }
        for (case, sentence) in cases {
            let mut cxx = strict_cpp(standard).expect("it was there");
            let output = cxx.arg("-fsyntax-only").arg("-D").arg(case).arg(&source).output().expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr);
            let errors = said.lines().filter(|line| line.contains("error: ")).collect::<Vec<_>>();
            assert!(!output.status.success() && errors.len() == 1, "{case} {standard}:\n{said}");
            assert!(errors[0].contains(sentence), "{case} {standard}: not \"{sentence}\" but\n{said}");
        }
    }
}

/// The cases of `tests/c/cpp_misuse.cpp`, each with what is said of it.
fn misuses() -> Vec<(&'static str, &'static str)> {
    let mut sentence = "";
    let mut cases = Vec::new();
    for line in include_str!("c/cpp_misuse.cpp").lines() {
        if let Some(error) = line.strip_prefix("// Error: ") {
            sentence = error;
        } else if let Some(case) = line.strip_prefix("#ifdef ") {
            cases.push((case, sentence));
        }
    }
    assert!(cases.len() > 20);
    cases
}

#[test]
fn the_cpp_header_can_do_without_exceptions() {
    let Some(mut cxx) = strict_cpp("-std=c++17") else { return };
    cxx.args(["-fno-exceptions", "-fno-rtti", "-c"]).arg(root().join("tests/c/cpp_without_exceptions.cpp"));
    libraries();
    let object = out().join("cpp_without_exceptions.o");
    run(cxx.arg("-o").arg(&object));
    let linker = Command::new(environment_or("CXX", "c++"));
    let output = program(linker, &object, "cpp_without_exceptions", Link::Static).output().expect("it starts");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(output.status.signal(), Some(6), "it aborts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "and now one that fails\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "losskit: target has 1 elements, 2 are needed\n");
}

#[test]
fn the_cpp_header_has_every_function_of_the_c_header() {
    let lines = include_str!("../include/losskit.hpp").lines();
    let code: String = lines.filter(|line| !line.trim_start().starts_with("//")).collect();
    let missing: Vec<_> = declared().into_iter().filter(|name| !code.contains(name.as_str())).collect();
    assert_eq!(missing, ["lk_options_init"], "which is for languages without initialisers");
}

#[test]
fn many_threads_may_call_at_once() {
    for link in Link::BOTH {
        run(&mut test_program("threads.c", link));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_threads_of_openmp_may_call_at_once() {
    for link in Link::BOTH {
        let mut cc = c();
        cc.arg("-fopenmp");
        run(&mut program(cc, &root().join("tests/c/openmp.c"), "openmp", link));
    }
}

#[test]
fn the_threads_of_cpp_may_call_at_once() {
    let Some(object) = cpp_object("cpp_threads.cpp", "-std=c++17") else { return };
    for link in Link::BOTH {
        let mut linker = Command::new(environment_or("CXX", "c++"));
        linker.arg("-pthread");
        run(&mut program(linker, &object, "cpp_threads", link));
    }
}

/// Ten million calls; seconds, as each is small.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_however_many_the_calls() {
    run(test_program("soak.c", Link::Static).arg("10000000"));
}

#[test]
fn a_forked_child_gets_the_same_bits_and_does_not_hang() {
    for link in Link::BOTH {
        run(&mut test_program("fork.c", link));
    }
}

/// Standard output of a program that has nothing to say on standard error, and neither have its children.
fn stdout_of_silent(command: &mut Command) -> String {
    let output = run(command);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command:?}");
    String::from_utf8(output.stdout).expect("programs print UTF-8")
}

#[test]
fn a_forked_child_makes_uses_and_destroys_contexts_in_any_order() {
    for link in Link::BOTH {
        let printed = stdout_of_silent(&mut test_program("fork_orders.c", link));
        assert_eq!(printed, "every order is fine\n");
    }
}

#[test]
fn a_forked_child_that_inherits_static_contexts_exits() {
    let Some(object) = cpp_object("fork_static.cpp", "-std=c++17") else { return };
    for link in Link::BOTH {
        let mut linker = Command::new(environment_or("CXX", "c++"));
        linker.arg("-pthread");
        let printed = stdout_of_silent(&mut program(linker, &object, "fork_static", link));
        assert_eq!(printed, "every child exits\n");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_descendant_with_its_ancestors_process_number_does_not_hang() {
    for link in Link::BOTH {
        let printed = stdout_of_silent(&mut test_program("fork_same_number.c", link));
        let names = ["numbers come round", "namespaces are nested", "no handler runs"];
        for (line, name) in printed.lines().zip(names) {
            if line == format!("skipped: {name}: not permitted here") {
                eprintln!("{line}");
            } else {
                assert_eq!(line, format!("{name}: ended"));
            }
        }
        assert_eq!(printed.lines().count(), names.len());
    }
}

#[test]
fn the_callers_floating_point_environment_changes_no_bit() {
    for link in Link::BOTH {
        run(&mut test_program("floating_point.c", link));
    }
    // linked so that flush-to-zero is set before main
    let mut cc = c();
    cc.arg("-Ofast");
    run(&mut program(cc, &root().join("tests/c/floating_point.c"), "floating_point-fast", Link::Static));
}

/// What report.c prints: instruction set, threads, hash.
fn report(command: &mut Command) -> [String; 3] {
    let line = stdout(command);
    let mut words = line.split_whitespace().map(str::to_owned);
    std::array::from_fn(|_| words.next().expect("three words"))
}

#[cfg(target_os = "linux")]
#[test]
fn environment_variables_set_the_process_default() {
    let report_with = |variables: &[(&str, &str)]| {
        let mut command = Command::new(out().join("report-Static"));
        for variable in ["LOSSKIT_ISA", "LOSSKIT_NUM_THREADS"] {
            command.env_remove(variable);
        }
        report(command.envs(variables.iter().copied()))
    };
    let [isa, threads, hash] = report(&mut test_program("report.c", Link::Static));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(threads, if cores == 1 { 1 } else { 1 + cores }.to_string(), "the caller's and one for each core");
    assert_eq!(report_with(&[("LOSSKIT_ISA", "scalar")]), ["scalar".to_owned(), threads.clone(), hash.clone()]);
    assert_eq!(report_with(&[("LOSSKIT_NUM_THREADS", "1")]), [isa.clone(), "1".to_owned(), hash.clone()]);
    assert_eq!(report_with(&[("LOSSKIT_NUM_THREADS", " 3 ")]), [isa.clone(), "4".to_owned(), hash.clone()]);
    for name in ["scalar", "neon", "avx2", "avx512"] {
        let [capped, _, bits] = report_with(&[("LOSSKIT_ISA", name), ("LOSSKIT_NUM_THREADS", "2")]);
        let expected = losskit::Isa::from_name(name).map(losskit::Isa::capped).map(losskit::Isa::name);
        assert_eq!((Some(capped.as_str()), &bits), (expected, &hash), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn environment_variables_that_make_no_sense_are_ignored_with_one_line() {
    let source = root().join("tests/c/report.c");
    let expected = report(&mut program(c(), &source, "report-nonsense", Link::Static));
    let run_with = |variable: &str, value: &OsStr| {
        let mut command = program_again("report-nonsense", Link::Static);
        run(command.env(variable, value))
    };
    use std::os::unix::ffi::OsStrExt;
    for (variable, values) in [
        ("LOSSKIT_ISA", ["avx3", "", "AVX2", "scalar,avx2", "best"]),
        ("LOSSKIT_NUM_THREADS", ["0", "", "-1", "two", "4097"]),
    ] {
        for value in values {
            let output = run_with(variable, OsStr::new(value));
            let line = format!("losskit: {variable}={value} ignored\n");
            assert_eq!(String::from_utf8_lossy(&output.stderr), line);
            let words =
                String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words, expected);
        }
        let output = run_with(variable, OsStr::from_bytes(b"\xff\xfe"));
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    }
    // that line may have nowhere to go
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut command = program_again("report-nonsense", Link::Static);
    command.env("LOSSKIT_ISA", "avx3").stderr(full).stdout(std::process::Stdio::piped());
    let output = command.spawn().and_then(|child| child.wait_with_output()).expect("it starts");
    assert!(output.status.success(), "with a standard error that cannot be written: {}", output.status);
}

#[cfg(target_os = "linux")]
fn program_again(name: &str, link: Link) -> Command {
    let mut command = Command::new(out().join(format!("{name}-{link:?}")));
    command.env_remove("LOSSKIT_ISA").env_remove("LOSSKIT_NUM_THREADS");
    command
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_cannot_start_threads_gets_the_same_bits() {
    let source = root().join("tests/c/report.c");
    let [isa, _, hash] = report(&mut program(c(), &source, "report-limited", Link::Static));
    let mut limited = program_again("report-limited", Link::Static);
    assert_eq!(report(limited.arg("no-threads")), [isa, "1".to_owned(), hash]);
}

#[test]
fn the_examples_run_with_either_library() {
    let example = |name: &str, link: Link| {
        let source = root().join("c_examples").join(name).with_extension("c");
        let mut cc = c();
        cc.arg("-ffp-contract=off");
        let mut command = program(cc, &source, name, link);
        command.current_dir(root().join("c_examples"));
        command
    };
    for name in ["minimal", "worked_examples", "dqn_cartpole"] {
        let printed = Link::BOTH.map(|link| stdout(&mut example(name, link)));
        assert_eq!(printed[0], printed[1], "{name}");
    }
    if let Some(mut cxx) = strict_cpp("-std=c++17") {
        let object = out().join("robust_regression.o");
        let source = root().join("c_examples/robust_regression.cpp");
        run(cxx.args(["-ffp-contract=off", "-c"]).arg(source).arg("-o").arg(&object));
        let picture = out().join("robust_regression.svg");
        for link in Link::BOTH {
            let linker = Command::new(environment_or("CXX", "c++"));
            let mut example = program(linker, &object, "robust_regression", link);
            run(example.current_dir(root().join("c_examples")).arg(&picture));
            let drawn = std::fs::read_to_string(&picture).expect("it has drawn");
            assert_eq!(drawn, include_str!("../docs/pictures/robust_regression.svg"), "make -C c_examples pictures");
        }
    }
    for loss in ["cross_entropy", "mse", "bce"] {
        let printed =
            Link::BOTH.map(|link| stdout(example("train_digits", link).args(["--loss", loss, "--epochs", "20"])));
        assert_eq!(printed[0], printed[1], "{loss}");
        let scalar = stdout(
            Command::new(out().join("train_digits-Static"))
                .current_dir(root().join("c_examples"))
                .args(["--loss", loss, "--epochs", "20"])
                .envs([("LOSSKIT_ISA", "scalar"), ("LOSSKIT_NUM_THREADS", "1")]),
        );
        assert_eq!(printed[0], scalar, "{loss} without SIMD and threads");
    }
}

/// The functions that the header declares, from the preprocessor's output.
fn declared() -> Vec<String> {
    let text = stdout(c().args(["-E", "-P"]).arg(root().join("include/losskit.h")));
    // short forms are in the header alone
    let text = text.split("static inline").next().expect("text before it");
    let mut names: Vec<_> = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '('))
        .filter_map(|word| word.split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("lk_"))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(target_os = "linux")]
#[test]
fn the_shared_library_exports_the_header_and_nothing_else() {
    let text = stdout(Command::new("nm").args(["-D", "--defined-only"]).arg(shared_library()));
    let mut exported: Vec<_> =
        text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    exported.sort();
    assert_eq!(exported, declared());
    assert!(exported.len() > 30);
}

/// The static library in a program leaves the C symbols of Rust's dependencies alone.
#[test]
fn the_static_library_defines_no_other_c_function_of_ours() {
    let text = stdout(Command::new("nm").args(["-g", "--defined-only"]).arg(libraries().join("liblosskit.a")));
    let mut ours: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|name| name.trim_start_matches('_').to_owned())
        .filter(|name| name.starts_with("lk_"))
        .collect();
    ours.sort();
    ours.dedup();
    assert_eq!(ours, declared());
}
