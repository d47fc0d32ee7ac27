#!/usr/bin/env python3
"""Writes digits.bin from scikit-learn's digits.csv.gz; README.md beside this file tells the layout and the source.

usage: make_digits.py path/to/digits.csv.gz [output]
"""

import csv
import gzip
import sys
from pathlib import Path

SAMPLES, PIXELS, DARKEST, CLASSES = 1797, 64, 16, 10


def read_samples(path):
    """Each line of the csv as integers: 64 pixels, row by row, then the label."""
    with gzip.open(path, mode="rt", newline="") as lines:
        return [[int(field) for field in row] for row in csv.reader(lines)]


def check(samples):
    """The C reader trusts nothing either, but a bad file should not be written in the first place."""
    if len(samples) != SAMPLES:
        sys.exit(f"expected {SAMPLES} samples, found {len(samples)}")
    for line, sample in enumerate(samples, start=1):
        *pixels, label = sample
        if len(pixels) != PIXELS or not all(0 <= pixel <= DARKEST for pixel in pixels) or not 0 <= label < CLASSES:
            sys.exit(f"line {line} is not {PIXELS} pixels in 0..{DARKEST} and a label in 0..{CLASSES - 1}")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.strip())
    output = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).with_name("digits.bin")
    samples = read_samples(sys.argv[1])
    check(samples)
    output.write_bytes(b"".join(bytes(sample) for sample in samples))
    print(f"{output}: {len(samples)} samples, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
