"""A library at a work, ready to be called."""

import dataclasses
import time
from typing import Callable

import numpy as np


@dataclasses.dataclass
class Contestant:
    library: str
    # one evaluation, finished when it returns
    call: Callable
    # what the last call gave: the value, and the gradient as an array or None
    result: Callable


def faster(contestants):
    """Of several ways to ask one library, the one that is the least time on its way."""

    def seconds(contestant):
        times = []
        for _ in range(4):
            start = time.perf_counter()
            contestant.call()
            times.append(time.perf_counter() - start)
        return min(times)

    return min(contestants, key=seconds)


def disagreement(contestant, reference):
    """Why the two results cannot be of the same loss, or None. Rounding errors of float32 are allowed for."""
    value, grad = contestant.result()
    wanted, wanted_grad = reference.result()
    if not abs(value - wanted) <= 1e-4 * abs(wanted):
        return f"{contestant.library} gives {value}, {reference.library} {wanted}"
    if grad is None or wanted_grad is None:
        return None if grad is wanted_grad else "one of them gives a gradient, the other none"
    if grad.shape != wanted_grad.shape:
        return f"{contestant.library}: gradient of shape {grad.shape}"
    largest = float(np.abs(wanted_grad).max())
    difference = float(np.abs(grad - wanted_grad).max())
    if not difference <= 1e-5 * largest:
        return f"{contestant.library}: a gradient is off by {difference}, the largest is {largest}"
    return None
