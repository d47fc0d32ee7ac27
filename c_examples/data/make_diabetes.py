#!/usr/bin/env python3
"""Writes diabetes.csv from scikit-learn's two files; README.md beside this file tells the columns and the source.

usage: make_diabetes.py path/to/diabetes_data_raw.csv.gz path/to/diabetes_target.csv.gz [output]
"""

import gzip
import sys
from pathlib import Path

SAMPLES = 442
COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "target"]


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__.strip())
    output = Path(sys.argv[3]) if len(sys.argv) == 4 else Path(__file__).with_name("diabetes.csv")
    features, targets = ([line.split() for line in gzip.open(path, mode="rt")] for path in sys.argv[1:3])
    rows = [[f"{float(field):g}" for field in row + target] for row, target in zip(features, targets, strict=True)]
    if len(rows) != SAMPLES or any(len(row) != len(COLUMNS) for row in rows):
        sys.exit(f"expected {SAMPLES} rows of {len(COLUMNS)} numbers")
    output.write_text("".join(",".join(row) + "\n" for row in [COLUMNS, *rows]))
    print(f"{output}: {len(rows)} samples, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
