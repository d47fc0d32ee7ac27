#!/usr/bin/env python3
"""What is asked of losskit's speed, and what the last run of the benchmarks reached: a Markdown table.

  cargo bench && benches/targets.py             # to stdout
  cargo bench && benches/targets.py --write     # into docs/speed.md, between its markers
  benches/targets.py --any-run                  # results of older, partial runs too

Reads criterion's results (target/criterion, or $CARGO_TARGET_DIR/criterion, $CRITERION_HOME), of one run, the median of
each. What is compared with other libraries comes from docs/peers.csv (benches/peers/run --write; --peers names another
file), which is a run of its own, in which they take turns with losskit. llvm-mca's figures come from
docs/machine-code.md. Python 3.9, no packages.
"""

import argparse
import csv
import json
import math
import os
import pathlib
import re
import subprocess
import sys

from losses import LOGARITHMS, MEMORY_BOUND

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
MACHINE_CODE = ROOT / "docs" / "machine-code.md"
BEGIN, END = "<!-- benches/targets.py: begin -->", "<!-- benches/targets.py: end -->"

LARGE = "16777216"
WIDE = ["512x32000", "128x128256"]
ROWS = ["65536x2", "65536x10", "65536x64"]
IMAGES, IMAGES_AS_ROWS = "8x21x512x512", "2097152x21"


class Missing(Exception):
    """A result that was not measured."""


class Results:
    """Criterion's, as nanoseconds a call and elements a nanosecond."""

    def __init__(self, folder, any_run):
        self.machine = json.loads((folder / "machine.json").read_text())
        self.calls = {}
        for estimates in folder.glob("*/*/*/new/estimates.json"):
            if not any_run and estimates.stat().st_mtime < self.machine["began"]:
                continue
            about = json.loads((estimates.parent / "benchmark.json").read_text())
            counted = about["throughput"]
            elements = counted["Elements"] if "Elements" in counted else counted["ElementsAndBytes"]["elements"]
            median = json.loads(estimates.read_text())["median"]["point_estimate"]
            self.calls[about["group_id"], about["function_id"], about["value_str"]] = (median, elements)

    def nanoseconds(self, group, function, shape):
        try:
            return self.calls[group, function, shape][0]
        except KeyError:
            raise Missing(f"{group}/{function}/{shape}") from None

    def rate(self, group, function, shape):
        nanoseconds = self.nanoseconds(group, function, shape)
        return self.calls[group, function, shape][1] / nanoseconds

    def roof(self, traffic, threads, shape, element="f32"):
        """The best of the ways to walk and to store."""
        group = f"roof_{element}_{traffic}"
        rates = [
            self.rate(group, f"t{threads}_{way}", shape)
            for way in ["plain", "stream", "plain_linear", "stream_linear"]
            if (group, f"t{threads}_{way}", shape) in self.calls
        ]
        if not rates:
            raise Missing(f"{group}/t{threads}/{shape}")
        return max(rates)


class Peers:
    """How much faster losskit is than other libraries, from a run of benches/peers."""

    def __init__(self, path):
        self.path, self.rows = path, []
        if path.exists():
            with path.open() as file:
                self.rows = list(csv.DictReader(file))

    def ratios(self, work, shape, threads):
        rows = [
            row
            for row in self.rows
            if (row["work"], row["shape"], row["threads"]) == (work, shape, str(threads))
            and row["library"] != "losskit"
        ]
        if not rows:
            raise Missing(f"{work} {shape} at {threads} threads in {self.path.name}")
        return {row["library"]: float(row["losskit_ratio"]) for row in rows}

    def best(self, work, shape, threads):
        """Against the fastest of them: losskit's rate over its rate, and its name."""
        return min((ratio, library) for library, ratio in self.ratios(work, shape, threads).items())


class Figure:
    """One number that a target asks for."""

    def __init__(self, label, value, goal, at_most=False, note=""):
        self.label, self.value, self.goal, self.at_most, self.note = label, value, goal, at_most, note

    def is_met(self):
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def __str__(self):
        value = f"{self.value:.0f}" if self.value >= 20 else f"{self.value:.2f}"
        value = value if self.is_met() else f"**{value}**"
        return f"{self.label} {value}" + (f" ({self.note})" if self.note else "")


class Target:
    """A line of the table."""

    def __init__(self, work, goal, figures):
        self.work, self.goal, self.figures, self.missing = work, goal, [], []
        for figure in figures:
            try:
                self.figures.append(figure())
            except Missing as missing:
                self.missing.append(str(missing))

    def line(self):
        reached = ", ".join(map(str, self.figures))
        if self.missing:
            reached += ("; " if reached else "") + f"not measured: {', '.join(self.missing[:3])}"
            reached += f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else ""
        missed = sum(not figure.is_met() for figure in self.figures)
        met = "missed" if missed == len(self.figures) else f"{missed} missed" if missed else "met"
        if self.missing and not missed:
            met = "not all measured" if self.figures else "not measured"
        return f"| {self.work} | {self.goal} | {reached} | {met} |"


def targets(results, peers, threads):
    """All of them, in the order of the list that asked for them. Each figure is computed when it is its turn."""
    t = f"t{threads}"

    def of_roof(loss, a_pass, traffic, n, shape, goal, label=None):
        def figure():
            group, beside = f"{loss}_f32_{a_pass}", f"t{n}_roof"
            # in turns with the loss, where it was
            is_beside = (group, beside, shape) in results.calls
            roof = results.rate(group, beside, shape) if is_beside else results.roof(traffic, n, shape)
            return Figure(label or loss, results.rate(group, f"t{n}", shape) / roof, goal)

        return figure

    def of_peer(work, shape, goal, label, library=None):
        def figure():
            if library:
                ratios = peers.ratios(work, shape, threads)
                if library not in ratios:
                    raise Missing(f"{work} {shape} of {library}")
                return Figure(label, ratios[library], goal)
            ratio, best = peers.best(work, shape, threads)
            return Figure(label, ratio, goal, note=best)

        return figure

    for n in [1, threads]:
        yield Target(
            f"value and gradient, {LARGE} elements, {counted(n)}",
            "0.95 of the roof read2_write1",
            [of_roof(loss, "grad", "read2_write1", n, LARGE, 0.95) for loss in MEMORY_BOUND],
        )
    yield Target(
        f"value only, {LARGE} elements, {counted(threads)}",
        "0.95 of the roof read2",
        [of_roof(loss, "value", "read2", threads, LARGE, 0.95) for loss in MEMORY_BOUND],
    )
    yield Target(
        f"gradient in place, {LARGE} elements, {counted(threads)}",
        "0.95 of the roof inplace",
        [of_roof(loss, "inplace", "inplace", threads, LARGE, 0.95) for loss in MEMORY_BOUND],
    )
    for shape in ["1000", "65536"]:

        def plain_loop(shape=shape):
            rate = results.rate("mse_f32_grad", "t1", shape)
            return Figure("mse, of a loop without promises", rate / results.rate("plain_mse_f32_grad", "t1", shape), 0)

        yield Target(
            f"value and gradient, {shape} elements, 1 thread",
            "0.9 of the roof read2_write1",
            [of_roof(loss, "grad", "read2_write1", 1, shape, 0.9) for loss in MEMORY_BOUND] + [plain_loop],
        )
    yield Target(
        f"value and gradient, {LARGE} elements, {counted(threads)}",
        "0.5 of the roof read2_write1",
        [of_roof(loss, "grad", "read2_write1", threads, LARGE, 0.5) for loss in LOGARITHMS],
    )
    yield Target(
        f"bce and bce_with_logits, against the best peer, {counted(threads)}",
        "8 times",
        [of_peer(f"{loss}_f32_grad", LARGE, 8, loss) for loss in LOGARITHMS],
    )
    yield Target(
        f"cross_entropy with gradient, wide, {counted(threads)}",
        "0.8 of the roof read1_write1",
        [of_roof("cross_entropy", "grad", "read1_write1", threads, shape, 0.8, shape) for shape in WIDE],
    )
    for goal, shapes in [(6, WIDE), (2.5, ["4096x1000"]), (3, ROWS)]:
        yield Target(
            f"cross_entropy with gradient, against the best peer, {counted(threads)}",
            f"{goal} times",
            [of_peer("cross_entropy_f32_grad", shape, goal, shape) for shape in shapes],
        )

    def ten_classes():
        function = "t1" if results.machine["isa"] == "avx2" else "t1_avx2"
        nanoseconds = results.nanoseconds("cross_entropy_f32_grad", function, "65536x10")
        cycles_a_nanosecond = results.rate("clock", "t1", "300000")
        return Figure(
            "cycles a row", nanoseconds / 65536 * cycles_a_nanosecond, 45, True, f"at {cycles_a_nanosecond:.2f} GHz"
        )

    yield Target("cross_entropy with gradient, 65536x10, one AVX2 core", "45 cycles a row", [ten_classes])

    def relative(label, numerator, denominator, goal, factor=1.0):
        return lambda: Figure(label, factor * results.rate(*numerator) / results.rate(*denominator), goal)

    yield Target(
        f"cross_entropy, value only, {counted(threads)}",
        "1.3 times the rate with gradient",
        [
            relative(shape, ("cross_entropy_f32_value", t, shape), ("cross_entropy_f32_grad", t, shape), 1.3)
            for shape in WIDE
        ],
    )
    grad = "cross_entropy_f32_grad"
    yield Target(
        f"cross_entropy with gradient, [8, 21, 512, 512], {counted(threads)}",
        "the rate of the same as rows",
        [relative("times", (grad, t, IMAGES), (grad, t, IMAGES_AS_ROWS), 1)],
    )
    yield Target(
        f"[8, 21, 512, 512], against the best peer, {counted(threads)}", "4 times", [of_peer(grad, IMAGES, 4, "times")]
    )
    # three arrays go by, not two
    yield Target(
        f"cross_entropy with gradient, class probabilities, {counted(threads)}",
        "0.8 of the rate with indices, scaled by bytes moved",
        [
            relative(shape, ("cross_entropy_probabilities_f32_grad", t, shape), (grad, t, shape), 0.8, 3 / 2)
            for shape in ROWS + ["4096x1000"] + WIDE + [IMAGES]
        ],
    )
    pairs = sorted(
        (group.replace("_f64_", "_f32_"), group, shape)
        for group, function, shape in results.calls
        if function == t and "_f64_" in group and (group.replace("_f64_", "_f32_"), t, shape) in results.calls
    )
    halves = [
        Figure(
            f"{single.replace('_f32', '')} {shape}",
            results.rate(double, t, shape) / results.rate(single, t, shape),
            0.45,
        )
        for single, double, shape in pairs
    ]
    yield Target(
        f"f64, every loss, pass and shape, {counted(threads)}",
        "0.45 of the f32 rate",
        [lambda figures=halves: Some(figures)] if halves else [],
    )
    yield Target(
        f"td with gradient, 4096x18, against PyTorch eager's composed form, {counted(threads)}",
        "20 times",
        [of_peer(f"{loss}_f32_grad", "4096x18", 20, loss, "PyTorch") for loss in ["td_mse", "td_huber"]],
    )
    small = sorted({group for group, function, _ in results.calls if group.startswith("latency_")})

    def slowest(group):
        def figure():
            shapes = {shape for name, _, shape in results.calls if name == group}
            shape = next(shape for shape in ["16", "1x16", "1x18"] if shape in shapes)
            passes = [a for a in ["c_value", "c_grad"] if (group, a, shape) in results.calls]
            if not passes:
                raise Missing(group)
            loss = group[len("latency_") : -len("_f32")]
            return Figure(loss, max(results.nanoseconds(group, a, shape) for a in passes), 60, True)

        return figure

    yield Target("a call on 16 elements, 16 classes or 18 actions, 1 thread, from C", "60 ns", map(slowest, small))
    compute_bound = [(f"{loss}_f32_grad", LARGE) for loss in LOGARITHMS]
    compute_bound += [(grad, shape) for shape in ["65536x10", "65536x64", "4096x1000", *WIDE, IMAGES]]
    yield Target(
        "compute-bound work with gradient, from 1 to 2 threads",
        "1.8 times",
        [
            relative(f"{group[: -len('_f32_grad')]} {shape}", (group, "t2", shape), (group, "t1", shape), 1.8)
            for group, shape in compute_bound
        ],
    )
    yield from machine_code()


class Some:
    """Many figures as one: how many are met, and the worst."""

    def __init__(self, figures):
        self.figures = sorted(figures, key=lambda figure: figure.value)

    def is_met(self):
        return all(figure.is_met() for figure in self.figures)

    def __str__(self):
        missed = [figure for figure in self.figures if not figure.is_met()]
        text = f"{len(self.figures) - len(missed)} of {len(self.figures)}; "
        shown = (missed or self.figures)[:6]
        return text + "the worst: " + ", ".join(map(str, shown))


def machine_code():
    """llvm-mca's figures, from the page that has them."""
    text = MACHINE_CODE.read_text()
    table = re.search(r"### Elements a cycle, relative to AVX2\n\n((?:\|.*\n)+)", text)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()] if table else []
    for isa, goal in [("AVX-512", 1.7), ("NEON", 0.45)]:
        columns = [i for i, head in enumerate(rows[0]) if head.startswith(isa)] if rows else []
        figures = []
        for i in columns:
            cpu = re.match(rf"{isa}, ([\w-]+)", rows[0][i])[1]
            cells = [(row[0], row[i]) for row in rows[2:] if re.match(r"[\d.]+$", row[i])]
            if cells:
                figures.append(lambda cpu=cpu, cells=cells: Named(cpu, [Figure(k, float(x), goal) for k, x in cells]))
        yield Target(f"{isa}, elements a cycle by llvm-mca", f"{goal} times AVX2's", figures)


class Named(Some):
    """The same, of one CPU, in fewer words."""

    def __init__(self, name, figures):
        super().__init__(figures)
        self.name = name

    def __str__(self):
        met = sum(figure.is_met() for figure in self.figures)
        return f"{self.name}: {met} of {len(self.figures)} kernels, the worst {self.figures[0]}"


CORES = 64
MEMORY = 300  # GB/s, eight channels of DDR5-4800
JOIN = 5e3  # ns for a task to reach another core and its result to come back


def many_cores(results):
    """A reckoning for a machine with many cores, from what one core does here. The arrays are large."""
    lines = [
        f"| work, with gradient | one core here, Gelem/s | {CORES} times that | {MEMORY} GB/s allow | expected | speed-up | binds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    works = [(f"{loss}_f32_grad", LARGE, 12) for loss in ["mse", *LOGARITHMS]]
    works += [("cross_entropy_f32_grad", shape, 8) for shape in ["65536x10", "4096x1000", *WIDE]]
    for group, shape, bytes_moved in works:
        try:
            # what the core computes, not what its memory lets it: from the caches where that was measured
            small = (group, "t1", "65536")
            one = results.rate(*small) if small in results.calls else results.rate(group, "t1", shape)
            nanoseconds, elements = results.calls[group, "t1", shape]
        except (Missing, KeyError):
            continue
        allowed = MEMORY / bytes_moved
        together = 1 / (1 / min(CORES * one, allowed) + math.log2(CORES) * JOIN / elements)
        binds = "memory" if allowed < CORES * one else "cores"
        if together < 0.5 * min(CORES * one, allowed):
            binds = "starting the tasks"
        lines.append(
            f"| {group[: -len('_f32_grad')]} {shape} | {elements / nanoseconds:.2f} | {CORES * one:.0f} | {allowed:.0f} "
            f"| {together:.1f} | {together * nanoseconds / elements:.0f} | {binds} |"
        )
    return lines


def counted(threads):
    return "1 thread" if threads == 1 else f"{threads} threads"


def criterion_folder():
    if "CRITERION_HOME" in os.environ:
        return pathlib.Path(os.environ["CRITERION_HOME"])
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--any-run", action="store_true")
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "docs" / "peers.csv")
    arguments = parser.parse_args()
    folder = criterion_folder()
    if not (folder / "machine.json").exists():
        sys.exit(f"no results in {folder}: run cargo bench first")
    results = Results(folder, arguments.any_run)
    machine = results.machine
    available = {int(match[1]) for _, function, _ in results.calls if (match := re.match(r"t(\d+)$", function))}
    if not available:
        sys.exit(f"no results of the last run in {folder}")
    threads = 2 if 2 in available else max(available)

    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()
    lines = [
        f"{machine['cpu']}, {machine['isa']}, {machine['threads']} threads; rustc {rustc[1] if rustc else 'unknown'};"
        + (" a quick run, less exact." if machine["mode"] == "quick" else "")
    ]
    lines[0] = lines[0].rstrip(";") + ("" if lines[0].endswith(".") else ".")
    lines += ["", "| work | at least (at most, where a time) | reached | |", "| --- | --- | --- | --- |"]
    lines += [target.line() for target in targets(results, Peers(arguments.peers), threads)]
    lines += ["", f"### {CORES} cores, reckoned", ""] + many_cores(results)
    text = "\n".join(lines)
    if arguments.write:
        page = PAGE.read_text()
        before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(f"{page[:before]}\n{text}\n{page[after:]}")
    else:
        print(text)


if __name__ == "__main__":
    main()
