"""JAX with optax's losses, jit-compiled: value, or value and gradient, as one function."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from contestant import Contestant
from works import GAMMA

LEAST_LOG = -100.0


def bce(p, y):
    """optax has it for logits alone; the clamped logarithms are PyTorch's."""
    log_p, log_1_p = jnp.maximum(jnp.log(p), LEAST_LOG), jnp.maximum(jnp.log1p(-p), LEAST_LOG)
    return -(y * log_p + (1 - y) * log_1_p)


def td(loss):
    def composed(q, action, reward, done, next_q):
        goal = reward + GAMMA * (1 - done) * next_q.max(1)
        return loss(jnp.take_along_axis(q, action[:, None], 1)[:, 0], goal)

    return composed


# Each sample's.
LOSSES = {
    "mse": optax.losses.squared_error,
    "l1": lambda x, y: jnp.abs(x - y),
    "huber": optax.losses.huber_loss,
    "smooth_l1": optax.losses.huber_loss,
    "bce": bce,
    "bce_with_logits": optax.losses.sigmoid_binary_cross_entropy,
    "cross_entropy": lambda x, y: optax.losses.softmax_cross_entropy_with_integer_labels(x, y, axis=1),
    "cross_entropy_probabilities": lambda x, y: optax.losses.softmax_cross_entropy(x, y, axis=1),
    "td_mse": td(optax.losses.squared_error),
    "td_huber": td(optax.losses.huber_loss),
}


def array(of):
    """Indices of 32 bits, as JAX has them; where an episode ended, as a number."""
    types = {np.dtype(np.int64): np.int32, np.dtype(np.uint8): np.float32}
    return jnp.asarray(of.astype(types.get(of.dtype, of.dtype), copy=False))


class Jax:
    name = "JAX"

    def contestants(self, work, arrays):
        jax.clear_caches()
        inputs = [array(of) for of in arrays.values()]
        loss = LOSSES[work.loss]

        def mean(*inputs):
            return loss(*inputs).mean()

        evaluate = jax.jit(jax.value_and_grad(mean) if work.with_grad else mean)
        last = []

        def call():
            last[:] = [jax.block_until_ready(evaluate(*inputs))]

        def result():
            value, grad = last[0] if work.with_grad else (last[0], None)
            return float(value), None if grad is None else np.asarray(grad)

        yield Contestant(self.name, call, result)

    def each_sample(self, name, arrays):
        inputs = [array(of) for of in arrays.values()]

        def total(*inputs):
            losses = LOSSES[name](*inputs)
            return losses.sum(), losses

        (_, losses), grad = jax.jit(jax.value_and_grad(total, has_aux=True))(*inputs)
        yield self.name, (np.asarray(losses), np.asarray(grad))
