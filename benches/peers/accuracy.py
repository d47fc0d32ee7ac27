"""How far each library's float32 results are from exact ones, on the same inputs, in units in the last place; and
whether a mean has the same bits each time."""

import numpy as np

from works import LARGE, Work

SMALLEST_ULP = 2.0**-149


def in_ulps(got, exact):
    """The worst. Below the smallest normal number the unit is that number's."""
    got, exact = np.asarray(got, np.float64).ravel(), exact.ravel()
    ulp = np.exp2(np.floor(np.log2(np.maximum(np.abs(exact), np.finfo(np.float32).tiny))) - 23)
    return float((np.abs(got - exact) / np.maximum(ulp, SMALLEST_ULP)).max())


# References in float64, written so that nothing cancels: off by some 1e-8 of an ULP of float32.


def cross_entropy(x, target):
    x, at = x.astype(np.float64), np.arange(len(x))
    largest = x.max(1, keepdims=True)
    e = np.exp(x - largest)
    e[at, x.argmax(1)] = 0
    rest = e.sum(1)
    loss = (largest[:, 0] - x[at, target]) + np.log1p(rest)
    p = np.exp(x - largest) / (1 + rest[:, None])
    others = p.copy()
    others[at, target] = 0
    p[at, target] = -others.sum(1)
    return loss, p


def bce_with_logits(x, y):
    x = x.astype(np.float64)
    signed = np.where(y == 1, x, -x)
    loss = np.maximum(-signed, 0) + np.log1p(np.exp(-np.abs(signed)))
    wrong = np.exp(-np.maximum(signed, 0)) / (np.exp(-np.maximum(signed, 0)) + np.exp(np.minimum(signed, 0)))
    return loss, np.where(y == 1, -wrong, wrong)


def bce(p, y):
    p = p.astype(np.float64)
    loss = np.where(y == 1, -np.log(p), -np.log1p(-p))
    return loss, (p - y) / np.maximum(p * (1 - p), 1e-12)


REFERENCES = {"cross_entropy": cross_entropy, "bce_with_logits": bce_with_logits, "bce": bce}


def inputs():
    """Name, loss, arrays."""
    random = np.random.default_rng(2)
    rows, classes = 65536, 10
    target = random.integers(0, classes, rows)
    for lead in [None, 10, 20]:
        x = random.standard_normal((rows, classes), np.float32) * np.float32(3)
        if lead:
            at = np.arange(rows)
            x[at, target] = -np.inf
            x[at, target] = x.max(1) + np.float32(lead)
        name = "logits N(0, 3)" if lead is None else f"target leads by {lead}"
        yield f"cross_entropy of 10 classes, {name}", "cross_entropy", {"input": x, "target": target}
    n = 1 << 20
    x = random.uniform(0, 80, n).astype(np.float32)
    yield "bce_with_logits, y = 1, x from 0 to 80", "bce_with_logits", {"input": x, "target": np.ones(n, np.float32)}
    p = np.maximum(random.random(n, np.float32), np.float32(2.0**-25))
    y = random.integers(0, 2, n).astype(np.float32)
    yield "bce, p from 0 to 1", "bce", {"input": p, "target": y}


def errors(libraries):
    """A dictionary for each kind of result: what, on which inputs, and the worst error of each library."""
    for name, loss, arrays in inputs():
        exact = REFERENCES[loss](arrays["input"], arrays["target"])
        found = [{"result": f"{name}: {result}", "errors": {}} for result in ["loss", "gradient"]]
        for library in libraries:
            for label, results in library.each_sample(loss, arrays):
                for row, got, wanted in zip(found, results, exact):
                    if got is not None:
                        row["errors"][label] = in_ulps(got, wanted)
        yield from found


def mean_bits(libraries):
    """The bits of the mean of mse over 2^24 elements, of ten calls each."""
    work = Work("mse", (LARGE,))
    arrays = work.arrays()
    for library in libraries:
        for contestant in library.contestants(work, arrays):
            found = []
            for _ in range(10):
                contestant.call()
                found.append(f"{np.float32(contestant.result()[0]).view(np.uint32):08x}")
            yield contestant.library, sorted(set(found))
