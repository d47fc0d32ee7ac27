"""The runs as a table for programs (CSV), a page (Markdown) and two pictures (SVG)."""

import csv
import importlib.metadata
import os
import platform
import re

COLUMNS = ["work", "shape", "threads", "library", "milliseconds", "gigaelements_per_second", "losskit_ratio"]
LIBRARIES = ["losskit", "PyTorch", "PyTorch compiled", "PyTorch prepared", "JAX", "ONNX Runtime"]
# Okabe and Ito's, told apart by everyone
COLOURS = ["#000000", "#d55e00", "#e69f00", "#cc79a7", "#0072b2", "#009e73"]
MARKERS = ["|", "o", "s", "^", "D", "v"]
PACKAGES = ["torch", "jax", "optax", "onnxruntime", "numpy"]


def machine(losskit, packages=PACKAGES):
    cpu = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "isa": losskit.isa(),
        "cores": os.cpu_count(),
        "losskit": losskit.version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def write(runs, folder):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "peers.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for run in runs:
            for row in run["speed"]:
                numbers = {k: f"{row[k]:.4g}" for k in COLUMNS[4:]}
                table.writerow({**row, **numbers, "threads": run["threads"]})
    (folder / "peers.md").write_text("\n".join(page(runs)) + "\n")
    throughput_picture(runs[-1], folder / "peers-throughput.svg")
    ratio_picture(runs, folder / "peers-ratio.svg")


BEGIN, END = "<!-- benches/peers: begin -->", "<!-- benches/peers: end -->"
# What the page shows first: gradients, but of the works that are much like another
SHORT = re.compile(r"^(cross_entropy|cross_entropy_probabilities|mse|huber|bce|bce_with_logits|td_mse)_f32_grad$")
# What the README shows of these: few classes, many classes, and a loss of independent elements
FIGURES = {
    ("cross_entropy_f32_grad", "65536x10"): "`cross_entropy`, 65,536 rows of 10 classes",
    ("cross_entropy_f32_grad", "512x32000"): "`cross_entropy`, 512 rows of 32,000 classes",
    ("mse_f32_grad", "16777216"): "`mse`, 16,777,216 elements",
}
IN_WORDS = {
    "PyTorch compiled": "PyTorch with `torch.compile`",
    "PyTorch prepared": "PyTorch with all tensors made beforehand",
}


def write_readme(run, path):
    """The run's three figures, between the markers."""
    before, rest = path.read_text().split(BEGIN)
    after = rest.split(END)[1]
    path.write_text("\n".join([before + BEGIN, *figures(run), END + after]))


def figures(run):
    about, works = run["machine"], by_work(run)
    yield "| value and gradient, float32 | elements a second | fastest other library | times as fast |"
    yield "| --- | --: | --- | --: |"
    for key, text in FIGURES.items():
        rate, name, fastest = beside_fastest(works[key])
        yield f"| {text} | {rate:.3g} billion | {IN_WORDS.get(name, name)} | {fastest['losskit_ratio']:.2f} |"
    ratios = [beside_fastest(rows)[2]["losskit_ratio"] for (work, _), rows in works.items() if SHORT.match(work)]
    machine = f"{counted(run['threads'])} on an {about['cpu']}"
    span = f"{len(ratios)} such ratios, from {min(ratios):.2f} to {max(ratios):.2f}"
    yield ""
    yield f"These were measured with {machine}, beside PyTorch, JAX and ONNX Runtime."
    yield f"[docs/peers.md](docs/peers.md) has {span}."


def short(run):
    yield "| work | shape | losskit | fastest other | times |"
    yield "| --- | --- | --: | --- | --: |"
    for (work, shape), rows in by_work(run).items():
        if SHORT.match(work):
            own, name, fastest = beside_fastest(rows)
            other, ratio = fastest["gigaelements_per_second"], fastest["losskit_ratio"]
            cells = [f"{own:.3g}", f"{other:.3g}, {name}", f"{ratio:.2f}"]
            yield f"| {work.removesuffix('_f32_grad')} | {shape} | {' | '.join(cells)} |"


def beside_fastest(rows):
    """losskit's rate, and the name and the row of the library with the smallest ratio."""
    others = {name: row for name, row in rows.items() if name != "losskit"}
    name, fastest = min(others.items(), key=lambda item: item[1]["losskit_ratio"])
    return rows["losskit"]["gigaelements_per_second"], name, fastest


def by_work(run):
    """(work, shape) to library to row, in the order they were timed."""
    works = {}
    for row in run["speed"]:
        works.setdefault((row["work"], row["shape"]), {})[row["library"]] = row
    return works


def versions(about):
    others = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"losskit {about['losskit']} ({about['isa']}), {others}"


def counted(threads):
    return "1 thread" if threads == 1 else f"{threads} threads"


def page(runs):
    about = runs[-1]["machine"]
    yield "# losskit and its peers"
    yield ""
    yield "Made by `benches/peers/run --write`; `benches/peers/README.md` says how libraries are called and compared."
    yield ""
    yield f"{about['cpu']}, {about['cores']} cores; {versions(about)}, Python"
    yield f"{platform.python_version()}. Everything is float32."
    yield ""
    yield "Cross-entropy of a linear layer, time and memory beside PyTorch: [peers-linear.md](peers-linear.md)."
    yield ""
    yield "![Throughput of each library](peers-throughput.svg)"
    yield ""
    yield "![How many times faster losskit is](peers-ratio.svg)"
    yield ""
    yield "The libraries are timed in turns on the same arrays, in many rounds. In each round losskit's rate is divided"
    yield "by the other library's rate. The ratios on this page are medians over the rounds. The rates are medians too,"
    yield "each computed separately, so a ratio is not always exactly the quotient of two rates. The fastest other library"
    yield "is the one for which the ratio is smallest."
    yield ""
    yield "## Value and gradient"
    yield ""
    yield f"Billions of elements a second with {counted(runs[-1]['threads'])}. `times` is the ratio to the fastest other"
    yield "library."
    yield ""
    yield from short(runs[-1])
    yield ""
    yield "## Speed"
    yield ""
    yield "Billions of elements a second, and how many times faster losskit is than the fastest of the others (below 1 it"
    yield "is slower). ONNX Runtime computes only the loss of cross-entropy, not its gradient."
    for run in reversed(runs):
        yield ""
        yield f"### {counted(run['threads']).capitalize()}"
        yield ""
        yield f"| work | shape | {' | '.join(LIBRARIES)} | losskit : fastest other |"
        yield "| --- | --- |" + " --: |" * (len(LIBRARIES) + 1)
        for (work, shape), rows in by_work(run).items():
            cells = [f"{rows[name]['gigaelements_per_second']:.3g}" if name in rows else "" for name in LIBRARIES]
            ratio = min(row["losskit_ratio"] for name, row in rows.items() if name != "losskit")
            yield f"| {work} | {shape} | {' | '.join(cells)} | {ratio:.3g} |"
    if "errors" in runs[-1]:
        yield from accuracy(runs)


def accuracy(runs):
    libraries = [name for name in LIBRARIES if any(name in row["errors"] for row in runs[-1]["errors"])]
    yield ""
    yield "## Accuracy"
    yield ""
    yield "The worst error on the same inputs, in units in the last place of the exact result."
    yield ""
    yield f"| result | {' | '.join(libraries)} |"
    yield "| --- |" + " --: |" * len(libraries)
    for row in runs[-1]["errors"]:
        cells = [f"{row['errors'][name]:.3g}" if name in row["errors"] else "" for name in libraries]
        yield f"| {row['result']} | {' | '.join(cells)} |"
    yield ""
    yield "The bits of the mean of mse over 2^24 elements, in ten calls on each number of threads:"
    yield ""
    yield f"| library | {' | '.join(counted(run['threads']) for run in runs)} | |"
    yield "| --- |" + " --- |" * (len(runs) + 1)
    for name in runs[0]["mean_bits"]:
        found = [run["mean_bits"][name] for run in runs]
        same = "the same" if len({bits for some in found for bits in some}) == 1 else "different"
        yield f"| {name} | {' | '.join(', '.join(some) for some in found)} | {same} |"


def figure(rows):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "losskit", "font.size": 9})
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(8, 1.2 + 0.2 * rows), layout="constrained")


def save(fig, path):
    # without a date, so that the same numbers give the same file
    fig.savefig(path, metadata={"Date": None}, facecolor="white")


def labels(axes, works):
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yticks(range(len(works)), [f"{work.replace('_f32', '')} {shape}" for work, shape in works])
    axes.invert_yaxis()
    axes.grid(axis="x", which="major", color="#cccccc", linewidth=0.6)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")


def throughput_picture(run, path):
    works = by_work(run)
    fig, axes = figure(len(works))
    for name, colour, marker in zip(LIBRARIES, COLOURS, MARKERS):
        points = [(rows[name]["gigaelements_per_second"], i) for i, rows in enumerate(works.values()) if name in rows]
        if points:
            x, y = zip(*points)
            size, width = (160, 3) if name == "losskit" else (28, 1)
            axes.scatter(x, y, s=size, color=colour, marker=marker, linewidths=width, label=name, zorder=3)
    labels(axes, works)
    axes.set_xlabel(f"billions of elements a second, {counted(run['threads'])}, {run['machine']['cpu']}")
    fig.legend(loc="outside upper center", ncols=len(LIBRARIES), frameon=False, columnspacing=1, handletextpad=0.2)
    save(fig, path)


def ratio_picture(runs, path):
    works = by_work(runs[-1])
    fig, axes = figure(len(works))
    for run, filled in zip(runs, [False, True][-len(runs) :]):
        for (i, key), (name, colour, marker) in (
            (place, style) for place in enumerate(works) for style in list(zip(LIBRARIES, COLOURS, MARKERS))[1:]
        ):
            row = by_work(run).get(key, {}).get(name)
            if row:
                face = colour if filled else "white"
                axes.scatter(row["losskit_ratio"], i, s=26, marker=marker, facecolor=face, edgecolor=colour, zorder=3)
    axes.axvline(1, color="black", linewidth=1)
    labels(axes, works)
    hollow = f" (hollow: {counted(runs[0]['threads'])})" if len(runs) > 1 else ""
    axes.set_xlabel(f"how many times faster losskit is, {counted(runs[-1]['threads'])}{hollow}")
    for name, colour, marker in list(zip(LIBRARIES, COLOURS, MARKERS))[1:]:
        axes.scatter([], [], color=colour, marker=marker, s=26, label=name)
    fig.legend(loc="outside upper center", ncols=len(LIBRARIES), frameon=False, columnspacing=1, handletextpad=0.2)
    save(fig, path)
