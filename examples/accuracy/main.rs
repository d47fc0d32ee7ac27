//! The errors of losskit's results, in units in the last place (ULP), as tables: those of docs/numbers.md.
//!
//! ```text
//! cargo run --release --example accuracy                     everything, see the parts for how long it takes
//! cargo run --release --example accuracy -- --write          the same, into docs/numbers.md
//!
//! cargo run --release --example accuracy -- f32              functions: all 2^32 inputs of each, ten minutes
//! cargo run --release --example accuracy -- f32 --only tanh  functions whose name contains this; not with --write
//! cargo run --release --example accuracy -- f32 --step 1021  every 1021st only, seconds
//! cargo run --release --example accuracy -- f64              all around each breakpoint and 2^22 random inputs, minutes
//! cargo run --release --example accuracy -- f64 --random 30  2^30 random inputs, hours
//! cargo run --release --example accuracy -- losses           losses and gradients by width and kind of input, minutes
//! cargo run --release --example accuracy -- losses --rows 1  a thousandth of it, seconds
//! cargo run --release --example accuracy -- sums             sums and means of up to 2^24 losses, a minute
//! cargo run --release --example accuracy -- sums --largest 26    and of 2^26 (2 GB of memory)
//! ```
//! Several parts may be named. `--isa NAME` chooses an instruction set: scalar, neon, avx2 or avx512.
//!
//! Functions of one variable are taken as they are; sigmoid, softplus and the clamped logarithms are taken from the
//! losses that consist of them. The reference is the C library's double precision for functions of float32, whose
//! breakpoints are all among the 2^32 inputs, and arithmetic of 106 bits (tests/common/exact.rs) for everything else. A
//! result below the smallest normal number is measured in that number's ULP.
//!
//! Ends with status 1 if a bound is broken: 1 ULP for functions and sums (2 for tanh, 4 for its derivative), 3 for losses, 4
//! for gradients and Hessians.

mod losses;
mod subjects;
mod sums;
mod sweep;

#[path = "../../tests/common/mod.rs"]
mod common;

use std::path::Path;

use losskit::{Context, Isa};

const PARTS: [&str; 4] = ["f32", "f64", "losses", "sums"];

struct Arguments {
    parts: Vec<String>,
    isa: Isa,
    write: bool,
    /// What a function's name contains.
    only: String,
    /// Of the inputs of float32 only every so manieth.
    step: u64,
    /// The power of two that random inputs of float64 are many.
    random: u32,
    /// A factor of the number of samples.
    rows: usize,
    /// The power of two that the longest sum has terms.
    largest: u32,
}

fn arguments() -> Arguments {
    let (parts, isa) = (Vec::new(), Isa::best());
    let only = String::new();
    let mut all = Arguments { parts, isa, write: false, only, step: 1, random: 22, rows: 1024, largest: 24 };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut number = || given.next().and_then(|value| value.parse().ok()).expect("the option takes a number");
        match argument.as_str() {
            "--step" => all.step = number(),
            "--random" => all.random = number() as u32,
            "--rows" => all.rows = number() as usize,
            "--largest" => all.largest = number() as u32,
            "--write" => all.write = true,
            "--only" => all.only = given.next().expect("--only takes a part of a name"),
            "--isa" => {
                let name = given.next().unwrap_or_default();
                all.isa = Isa::from_name(&name).expect("--isa takes scalar, neon, avx2 or avx512");
            }
            part if PARTS.contains(&part) => all.parts.push(argument),
            _ => panic!("not known: {argument} (the head of examples/accuracy/main.rs says what there is)"),
        }
    }
    assert!(!all.write || all.only.is_empty(), "--write is for whole tables");
    if all.parts.is_empty() {
        all.parts = PARTS.map(String::from).to_vec();
    }
    all
}

/// Between the markers of a part, in docs/numbers.md.
fn write(part: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/numbers.md");
    let page = std::fs::read_to_string(&path).expect("docs/numbers.md can be read");
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- accuracy {part}: {which} -->"));
    let (before, rest) = page.split_once(&begin).expect("docs/numbers.md has the part's markers");
    let (_, after) = rest.split_once(&end).expect("docs/numbers.md has the part's markers");
    std::fs::write(&path, format!("{before}{begin}\n{text}\n{end}{after}")).expect("docs/numbers.md can be written");
}

fn main() {
    let arguments = arguments();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let contexts: Vec<Context> = (0..threads).map(|_| Context::with_threads(1).cap_isa(arguments.isa)).collect();
    let isa = contexts[0].isa().name();
    let mut any_broken = false;
    for part in &arguments.parts {
        let (head, (table, broken)) = match part.as_str() {
            "f32" => {
                let which = if arguments.step == 1 { "all".into() } else { format!("every {}.", arguments.step) };
                (
                    format!("float32 on {isa}, {which} inputs"),
                    sweep::every_float32(&contexts, &arguments.only, arguments.step),
                )
            }
            "f64" => {
                let which = format!("all around every breakpoint, and 2^{} random inputs", arguments.random);
                (
                    format!("float64 on {isa}, {which}"),
                    sweep::sampled_float64(&contexts, &arguments.only, arguments.random),
                )
            }
            "losses" => (format!("Losses and gradients on {isa}"), losses::table(&contexts, arguments.rows)),
            _ => (format!("Sums and means on {isa}"), sums::table(&contexts, arguments.largest)),
        };
        let text = format!("{head}; errors in ULP:\n\n{}", table.trim_end());
        println!("{text}\n");
        if arguments.write {
            write(part, &text);
        }
        any_broken |= broken;
    }
    std::process::exit(i32::from(any_broken));
}
