"""The losses of independent elements, as the library's table has them."""

import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "src" / "loss"
POINTWISE = re.findall(r"^ +(\w+) \w+\(\S+\) \[.*\] \w+;$", (FOLDER / "table.rs").read_text(), re.MULTILINE)
# Those whose formula is long are bound by its arithmetic, all others by memory.
LOGARITHMS = [name for name in POINTWISE if "IS_LONG: bool = true" in (FOLDER / f"{name}.rs").read_text()]
MEMORY_BOUND = [name for name in POINTWISE if name not in LOGARITHMS]
