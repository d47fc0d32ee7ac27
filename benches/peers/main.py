#!/usr/bin/env python3
"""losskit beside PyTorch, JAX and ONNX Runtime: speed and accuracy on the same arrays, in the same process.

  benches/peers/run                     # everything, to target/peers/
  benches/peers/run --quick             # seven works, fewer rounds
  benches/peers/run --write             # also into docs/ (peers.csv, peers.md, two pictures), and three figures into README.md
  benches/peers/run --rounds 7          # fewer rounds than 21
  benches/peers/run --work mse          # only works whose name contains this; accuracy is left out
  benches/peers/run --linear            # instead, cross-entropy of a linear layer beside PyTorch, to peers-linear.md there
  benches/peers/run --lib FILE          # a losskit that is there already, instead of building one

Works run on one thread and on all cores, each number in a process of its own that is bound to as many cores before any
library is loaded. Libraries take turns: each is called once for nothing and then timed, round after round. Before that,
values and gradients are compared.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--work", default="")
    parser.add_argument("--linear", action="store_true")
    parser.add_argument("--lib", type=pathlib.Path)
    parser.add_argument("--on", type=int, help=argparse.SUPPRESS)  # the process of one number of threads
    arguments = parser.parse_args()
    if arguments.on:
        in_process(arguments)
        return
    if arguments.write and (arguments.work or arguments.quick):
        parser.error("--write is for a whole run")

    import linear
    import losskit
    import report

    library = arguments.lib or losskit.build()
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "peers"
    if arguments.linear:
        linear.write(library, arguments.rounds or 7, ROOT / "docs" if arguments.write else folder)
        return
    runs = []
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        command = [sys.executable, __file__, "--on", str(threads), "--lib", str(library.resolve())]
        command += ["--work", arguments.work] + (["--quick"] if arguments.quick else [])
        command += ["--rounds", str(arguments.rounds or (5 if arguments.quick else 21))]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        runs.append(json.loads(output.splitlines()[-1]))
    report.write(runs, folder)
    if arguments.write:
        report.write(runs, ROOT / "docs")
        report.write_readme(runs[-1], ROOT / "README.md")


def in_process(arguments):
    """Everything on so many threads; prints a line of JSON."""
    threads = arguments.on
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["JAX_PLATFORMS"] = "cpu"

    import accuracy
    import jax_optax
    import losskit
    import onnx_runtime
    import pytorch
    import report
    import speed
    from works import QUICK, WORKS

    own = losskit.Losskit(arguments.lib, threads)
    libraries = [own, pytorch.PyTorch(threads), jax_optax.Jax(), onnx_runtime.OnnxRuntime(threads)]
    works = [work for work in (QUICK if arguments.quick else WORKS) if arguments.work in f"{work.name}/{work.shape}"]
    run = {"threads": threads, "machine": report.machine(own), "rounds": arguments.rounds, "speed": []}
    for i, work in enumerate(works):
        print(f"{report.counted(threads)}: {i + 1}/{len(works)} {work.name} {work.shape}", file=sys.stderr, flush=True)
        run["speed"] += speed.compare(work, libraries, arguments.rounds, 0.005 if arguments.quick else 0.02)
    if not arguments.work:
        print(f"{report.counted(threads)}: accuracy", file=sys.stderr, flush=True)
        run["errors"] = list(accuracy.errors(libraries))
        run["mean_bits"] = dict(accuracy.mean_bits(libraries))
    print(json.dumps(run))


if __name__ == "__main__":
    main()
