#!/usr/bin/env python3
"""What losskit costs to build and to carry: a Markdown table.

  benches/cost.py             # to stdout; a quarter of an hour, alone on the machine
  benches/cost.py --write     # into docs/speed.md, between its markers
  benches/cost.py --check     # fails where a release's shared library is larger than benches/budget.json allows;
                              # --check FILE looks at that library instead of building one

The budget is changed by hand, with a reason in the commit. A table is built in target/cost, which is emptied first. Sizes of functions are those of the symbols in the static library, by the
loss in their names (v0 mangling tells the generic arguments). Needs binutils. Python 3.9, no packages.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from losses import POINTWISE

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
BUDGET = ROOT / "benches" / "budget.json"
BEGIN, END = "<!-- benches/cost.py: begin -->", "<!-- benches/cost.py: end -->"
FOLDER = ROOT / "target" / "cost"
STATICLIB = ["--lib", "--features", "capi", "--crate-type", "staticlib"]

# What is in the names of a loss's functions; the first that matches counts.
PARTS = [
    ("td", r"gather::Td|::td::|lk_td_"),
    ("nll", r"gather::Nll|::nll::|lk_nll_"),
    ("softmax_state", r"softmax_state"),
    ("selective_log_softmax, entropy", r"kernel::tokens|selective_log_softmax|::entropy::|lk_entropy"),
    ("softmax_backward", r"class_backward|Backward"),
    ("distillation", r"distillation"),
    ("linear_cross_entropy and its matrix products", r"linear_cross_entropy|kernel::bias|matmul|gemm"),
    ("cross_entropy, softmax, log_softmax: rows", r"class_rows"),
    ("cross_entropy, softmax, log_softmax: columns", r"class_columns"),
    ("cross_entropy, softmax, log_softmax: the rest", r"::softmax::|cross_entropy|lk_(log_)?softmax"),
    *((loss, rf"::{loss}::|lk_{loss}_f") for loss in POINTWISE),
    ("what all share", r"losskit|lk_"),
]

DEPENDENT = """\
use losskit::{ClassShape, CrossEntropy, Huber, Mse, Targets};

fn main() {
    let (input, target) = ([0.5f32, 2.0], [1.0, 0.0]);
    let mut grad = [0.0; 2];
    println!("{:?}", Mse::new().mean_with_grad(&input, &target, &mut grad));
    println!("{:?}", Huber::new(1.0).mean(&input, &target));
    println!("{:?}", CrossEntropy::new().mean_with_grad(ClassShape::rows(1, 2), &input, Targets::U8(&[1]), &mut grad));
}
"""

# A debug build whose losses are as fast as in a release.
OPTIMISED = """
[profile.dev.package.losskit]
opt-level = 3
debug-assertions = false
overflow-checks = false
"""


def run(command, folder, cwd=ROOT, **environment):
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder), **environment}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr}")
    return done.stdout


def seconds(command, folder, cwd=ROOT):
    began = time.monotonic()
    run(command, folder, cwd)
    return time.monotonic() - began


def build_times():
    """From nothing, and of a crate that depends on losskit once that is built."""
    for name, options in [("release", ["--release"]), ("debug", [])]:
        folder = FOLDER / name
        yield f"library and its dependencies, {name}", seconds(["cargo", "build", "--lib", *options], folder)
    crate = FOLDER / "dependent"
    (crate / "src").mkdir(parents=True)
    (crate / "src" / "main.rs").write_text(DEPENDENT)
    (crate / "Cargo.toml").write_text(
        '[package]\nname = "dependent"\nedition = "2024"\n[workspace]\n[dependencies]\n'
        f'losskit = {{ path = "{ROOT}" }}\n'
    )
    build = ["cargo", "build", "--release"]
    yield "a crate that depends on it, from nothing, release", seconds(build, FOLDER / "dependent-target", crate)
    (crate / "src" / "main.rs").write_text(DEPENDENT.replace("0.5", "0.25"))
    yield "the same after a change of its own", seconds(build, FOLDER / "dependent-target", crate)
    with (crate / "Cargo.toml").open("a") as manifest:
        manifest.write(OPTIMISED)
    yield "from nothing, debug, losskit optimised", seconds(["cargo", "build"], FOLDER / "dependent-debug", crate)


def sizes():
    """Bytes of the stripped static library, of the shared one, and of machine code by loss."""
    release = FOLDER / "capi"
    run(["cargo", "rustc", "--release", *STATICLIB[:-1], "staticlib,cdylib"], release)
    stripped = FOLDER / "stripped.a"
    shutil.copy(release / "release" / "liblosskit.a", stripped)
    run(["strip", "--strip-debug", stripped], FOLDER)
    shared = FOLDER / "stripped.so"
    shutil.copy(release / "release" / "liblosskit.so", shared)
    run(["strip", shared], FOLDER)

    named = FOLDER / "named"
    run(["cargo", "rustc", "--release", *STATICLIB], named, RUSTFLAGS="-Csymbol-mangling-version=v0")
    listing = run(["nm", "--print-size", "--demangle", named / "release" / "liblosskit.a"], FOLDER)
    parts = collections.Counter()
    for line in listing.splitlines():
        match = re.match(r"[0-9a-f]+ ([0-9a-f]+) [tTwW] (.*)", line)
        part = match and next((name for name, pattern in PARTS if re.search(pattern, match[2])), None)
        if part:
            parts[part] += int(match[1], 16)
    return stripped.stat().st_size, shared.stat().st_size, parts


def check(library):
    """Whether the shared library that others get is within its budget."""
    if not library:
        subprocess.run(["make", "-C", ROOT / "c_examples", "--no-print-directory", "libraries"], check=True)
        library = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "liblosskit.so"
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, library], check=True)
        size = ["size", "--format=sysv", stripped.name]
        sections = subprocess.run(size, capture_output=True, text=True, check=True).stdout
        found = {
            "machine code of the shared library": int(re.search(r"^\.text +(\d+)", sections, re.MULTILINE)[1]),
            "shared library, stripped": os.path.getsize(stripped.name),
        }
    budget = json.loads(BUDGET.read_text())
    for what, size in found.items():
        print(f"{what}: {size / 1000:.0f} kB of {budget[what]} kB")
    if any(size > 1000 * budget[what] for what, size in found.items()):
        sys.exit(f"more than {BUDGET.relative_to(ROOT)} allows")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", metavar="FILE", nargs="?", const="", type=str)
    arguments = parser.parse_args()
    if arguments.check is not None:
        return check(arguments.check)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)

    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()[1]
    lines = [f"rustc {rustc}, {os.cpu_count()} cores.", "", "| build | seconds |", "| --- | --- |"]
    lines += [f"| {what} | {time:.0f} |" for what, time in build_times()]
    static, shared, parts = sizes()
    lines += ["", "| | kB |", "| --- | --- |"]
    lines += [f"| static library, without debugging information | {static / 1000:.0f} |"]
    lines += [f"| shared library, stripped | {shared / 1000:.0f} |"]
    lines += ["", "| machine code, both types, all instruction sets | kB |", "| --- | --- |"]
    lines += [f"| {name} | {size / 1000:.0f} |" for name, size in parts.most_common()]
    text = "\n".join(lines)
    if arguments.write:
        page = PAGE.read_text()
        before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(f"{page[:before]}\n{text}\n{page[after:]}")
    else:
        print(text)


if __name__ == "__main__":
    main()
