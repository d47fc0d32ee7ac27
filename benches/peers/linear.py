#!/usr/bin/env python3
"""Cross-entropy of a linear layer beside PyTorch: time and memory of the value and the gradients of hidden, weight and
bias. Reached by `benches/peers/run --linear`.

For time, all are in one process and take turns. For memory, each has a process of its own, and what counts is its peak
less that of a process that makes the inputs, and arrays for the gradients, and does nothing.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

SHAPES = [(2048, 768, 50257), (1024, 512, 8192)]
MIB = 1 << 20
BUDGETS = [64, 256]
PRODUCTS = "the three products alone, torch.matmul"
NOTHING = "nothing"


def write(library, rounds, folder):
    """Everything, as a page."""
    tables = [measured(shape, library, rounds) for shape in SHAPES]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers-linear.md").write_text("\n".join(page(tables)) + "\n")


def measured(shape, library, rounds):
    print(f"{named(shape)}: time", file=sys.stderr, flush=True)
    found = in_child(shape, library, ["--rounds", str(rounds)])
    for row in [nothing := {"library": NOTHING}, *found["rows"]]:
        print(f"{named(shape)}: memory of {row['library']}", file=sys.stderr, flush=True)
        row["peak"] = in_child(shape, library, ["--alone", row["library"]])["peak"]
    for row in found["rows"]:
        row["peak"] -= nothing["peak"]
    return {"shape": shape, **found}


def in_child(shape, library, arguments):
    command = [sys.executable, __file__, "--lib", str(library.resolve()), "--shape", *map(str, shape), *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def named(shape):
    return "x".join(map(str, shape))


def page(tables):
    import report

    about, threads = tables[0]["machine"], tables[0]["threads"]
    yield "# Cross-entropy of a linear layer, beside PyTorch"
    yield ""
    yield "Made by `benches/peers/run --linear --write`. Float32, rows x width x classes; value and gradients of hidden,"
    yield "weight and bias. Time: milliseconds, the median of turns in one process; its ratio to the products is the median"
    yield "of each turn's. Memory: the peak of a process of its own, beyond inputs and gradients, MiB."
    yield ""
    yield f"{about['cpu']}, {report.counted(threads)}; {report.versions(about)}, Python"
    yield f"{platform.python_version()}."
    for table in tables:
        rows, _, classes = table["shape"]
        yield ""
        yield f"## {named(table['shape'])}"
        yield ""
        yield f"All logits together are {rows * classes * 4 / MIB:.0f} MiB."
        yield ""
        yield "| | time | time : products | memory |"
        yield "| --- | --: | --: | --: |"
        for row in table["rows"]:
            yield f"| {row['library']} | {row['milliseconds']:.0f} | {row['ratio']:.2f} | {row['peak'] / MIB:.0f} |"


def in_process(arguments):
    """The times of all contenders, or the peak of one; prints a line of JSON."""
    import losskit
    import report
    import speed
    import torch

    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    own, arrays = losskit.Losskit(arguments.lib, threads), inputs(arguments.shape)
    if arguments.alone == NOTHING:
        gradients = [array.copy() for array in arrays[:3]]
        print(json.dumps({"peak": peak()}))
        return
    everyone = list(contestants(own, arrays))
    if arguments.alone:
        next(one for one in everyone if one.library == arguments.alone).call()
        print(json.dumps({"peak": peak()}))
        return
    for contestant in everyone:
        contestant.call()
        if contestant.library != PRODUCTS:
            check(contestant, everyone[0])
    times = speed.take_turns(everyone, arguments.rounds, 0.02)
    of_products = times[-1]
    rows = [
        {
            "library": contestant.library,
            "milliseconds": 1e3 * statistics.median(seconds),
            "ratio": statistics.median(own / products for own, products in zip(seconds, of_products)),
        }
        for contestant, seconds in zip(everyone, times)
    ]
    print(json.dumps({"rows": rows, "threads": threads, "machine": report.machine(own, ["torch", "numpy"])}))


def peak():
    """The most memory that this process has had, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def inputs(shape):
    """hidden, weight, bias and targets."""
    import numpy as np

    random, (rows, width, classes) = np.random.default_rng(1), shape
    hidden, weight = (random.standard_normal((count, width), np.float32) for count in [rows, classes])
    weight *= np.float32(3 / width**0.5)
    return hidden, weight, random.standard_normal(classes, np.float32), random.integers(0, classes, rows)


def check(contestant, reference):
    from contestant import disagreement

    # of each gradient in turn
    for which in range(3):
        parts = []
        for one in [contestant, reference]:
            value, gradients = one.result()
            parts.append(dataclasses.replace(one, result=lambda value=value, grad=gradients[which]: (value, grad)))
        if problem := disagreement(*parts):
            raise SystemExit(problem)


def contestants(own, arrays):
    """losskit first, the products last. Nothing is allocated before the first call."""
    for budget in BUDGETS:
        yield own.linear_contestant(f"losskit, {budget} MiB", arrays, budget * MIB)
    yield from of_pytorch(arrays)


def of_pytorch(arrays):
    import torch
    import torch.nn.functional as F
    from contestant import Contestant

    *leaves, targets = map(torch.from_numpy, arrays)
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def contestant(name, loss):
        value, gradients = None, None

        def call():
            nonlocal value, gradients
            # as an optimiser's zero_grad does, rather than have two of each
            gradients = None
            value = loss(*leaves)
            gradients = torch.autograd.grad(value, leaves)

        return Contestant(name, call, lambda: (value.item(), [grad.numpy() for grad in gradients]))

    def plain(hidden, weight, bias):
        return F.cross_entropy(F.linear(hidden, weight, bias), targets)

    def of_options(options):
        return lambda hidden, weight, bias: F.linear_cross_entropy(
            hidden, weight, targets, linear_bias=bias, options=options
        )

    yield contestant("PyTorch, linear and cross_entropy", plain)
    yield contestant("PyTorch, linear_cross_entropy, options=None", of_options(None))
    chunked = of_options(torch.nn.LinearCrossEntropyOptions())
    yield contestant("PyTorch, linear_cross_entropy, LinearCrossEntropyOptions()", chunked)
    hidden, weight = (leaf.detach() for leaf in leaves[:2])
    room = {}

    def products():
        if not room:
            room["logits"] = torch.empty(len(hidden), len(weight))
            room["hidden"], room["weight"] = torch.empty_like(hidden), torch.empty_like(weight)
        torch.matmul(hidden, weight.T, out=room["logits"])
        torch.matmul(room["logits"], weight, out=room["hidden"])
        torch.matmul(room["logits"].T, hidden, out=room["weight"])

    yield Contestant(PRODUCTS, products, lambda: (0.0, None))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", type=pathlib.Path)
    parser.add_argument("--shape", type=int, nargs=3)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--alone")
    in_process(parser.parse_args())
