"""What is timed: a loss, a pass and a shape, named as in benches/throughput, and its inputs as NumPy arrays."""

import dataclasses
import math

import numpy as np

GAMMA = 0.99
ACTIONS = 18
LARGE = 1 << 24
POINTWISE = ["mse", "l1", "huber", "smooth_l1", "bce", "bce_with_logits"]
CLASS_SHAPES = [
    (65536, 2),
    (65536, 10),
    (65536, 64),
    (4096, 1000),
    (512, 32000),
    (128, 128256),
    (8, 21, 512, 512),
]


@dataclasses.dataclass(frozen=True)
class Work:
    loss: str
    # of the input: [n], [rows, classes] or [N, C, H, W]
    dims: tuple
    with_grad: bool = True

    @property
    def name(self):
        return f"{self.loss}_f32_{'grad' if self.with_grad else 'value'}"

    @property
    def shape(self):
        return "x".join(map(str, self.dims))

    @property
    def elements(self):
        return math.prod(self.dims)

    def arrays(self):
        """Inputs in the order that the loss takes them."""
        random = np.random.default_rng(1)

        def normal(dims, deviation):
            return random.standard_normal(dims, np.float32) * np.float32(deviation)

        if self.loss.startswith("td"):
            rows = self.dims[0]
            return {
                "q": normal(self.dims, 1),
                "action": random.integers(0, ACTIONS, rows),
                "reward": normal(rows, 1),
                "done": (random.random(rows) < 0.02).astype(np.uint8),
                "next_q": normal(self.dims, 1),
            }
        if self.loss.startswith("cross_entropy"):
            logits, (n, classes, *inner) = normal(self.dims, 3), self.dims
            if self.loss == "cross_entropy":
                return {"input": logits, "target": random.integers(0, classes, (n, *inner))}
            weights = random.random(self.dims, np.float32)
            return {"input": logits, "target": weights / weights.sum(1, keepdims=True)}
        labels = self.loss.startswith("bce")
        target = random.integers(0, 2, self.dims).astype(np.float32) if labels else normal(self.dims, 2)
        if self.loss == "bce":
            # log(0) is left out: JAX makes NaN of its clamped gradient
            probabilities = np.maximum(random.random(self.dims, np.float32), np.float32(2.0**-25))
            return {"input": probabilities, "target": target}
        return {"input": normal(self.dims, 2), "target": target}


WORKS = (
    [Work("cross_entropy", dims, with_grad) for with_grad in [True, False] for dims in CLASS_SHAPES]
    + [Work("cross_entropy_probabilities", dims) for dims in CLASS_SHAPES]
    + [Work(loss, (LARGE,)) for loss in POINTWISE]
    + [Work("mse", (LARGE,), with_grad=False)]
    + [Work(loss, (4096, ACTIONS)) for loss in ["td_mse", "td_huber"]]
)
QUICK = [
    Work("cross_entropy", (65536, 10)),
    Work("cross_entropy", (128, 128256)),
    Work("cross_entropy", (4096, 1000), with_grad=False),
    Work("cross_entropy_probabilities", (4096, 1000)),
    Work("mse", (LARGE,)),
    Work("bce_with_logits", (LARGE,)),
    Work("td_mse", (4096, ACTIONS)),
]
