"""PyTorch, three ways: as everyone calls it (a fresh gradient each time), compiled, and at its best, the gradient's
tensor and all others made beforehand."""

import torch
import torch.nn.functional as F

from contestant import Contestant, faster
from works import GAMMA

aten = torch.ops.aten
MEAN, NOT_IGNORED = 1, -100


def td(loss):
    def composed(q, action, reward, done, next_q):
        goal = reward + GAMMA * (1 - done) * next_q.max(1).values
        return loss(q.gather(1, action[:, None])[:, 0], goal)

    return composed


LOSSES = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "smooth_l1": F.smooth_l1_loss,
    "bce": F.binary_cross_entropy,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
    "cross_entropy": F.cross_entropy,
    "cross_entropy_probabilities": F.cross_entropy,
    "td_mse": td(F.mse_loss),
    "td_huber": td(F.huber_loss),
}


def tensors(arrays):
    """The same memory; where an episode ended as a number, as a replay buffer of PyTorch's would have it."""
    return [torch.from_numpy(a).float() if name == "done" else torch.from_numpy(a) for name, a in arrays.items()]


class Last:
    """What the last call gave."""

    value = grad = None

    def result(self):
        return self.value.item(), None if self.grad is None else self.grad.detach().numpy()


class PyTorch:
    def __init__(self, threads):
        torch.set_num_threads(threads)

    def contestants(self, work, arrays):
        loss, inputs = LOSSES[work.loss], tensors(arrays)
        torch.compiler.reset()
        yield self.eager("PyTorch", loss, inputs, work.with_grad)
        compiled = torch.compile(loss, dynamic=False)
        ways = [self.eager("PyTorch compiled", compiled, inputs, work.with_grad)]
        if work.with_grad:
            both = torch.compile(lambda *inputs: torch.func.grad_and_value(loss)(*inputs), dynamic=False)
            ways.append(self.one_graph("PyTorch compiled", both, inputs))
        yield faster(ways)
        if work.with_grad and work.loss in PREPARED:
            yield self.prepared("PyTorch prepared", PREPARED[work.loss](*inputs))

    def each_sample(self, name, arrays):
        torch.compiler.reset()
        compiled = torch.compile(LOSSES[name], dynamic=False)
        for library, loss in [("PyTorch", LOSSES[name]), ("PyTorch compiled", compiled)]:
            first, target = tensors(arrays)
            first.requires_grad_()
            losses = loss(first, target, reduction="none")
            (grad,) = torch.autograd.grad(losses.sum(), first)
            yield library, (losses.detach().numpy(), grad.numpy())

    def eager(self, library, loss, inputs, with_grad):
        last = Last()
        first = inputs[0].detach().requires_grad_(with_grad)

        def call():
            last.value = loss(first, *inputs[1:])
            if with_grad:
                (last.grad,) = torch.autograd.grad(last.value, first)

        return Contestant(library, call, last.result)

    def one_graph(self, library, both, inputs):
        last = Last()

        def call():
            last.grad, last.value = both(*inputs)

        return Contestant(library, call, last.result)

    def prepared(self, library, evaluate):
        last = Last()

        @torch.no_grad()
        def call():
            last.value, last.grad = evaluate()

        return Contestant(library, call, last.result)


def pointwise(forward, backward):
    """backward(x, y, grad) fills grad with the gradient of the mean."""

    def prepare(x, y):
        grad = torch.empty_like(x)

        def evaluate():
            value = forward(x, y)
            backward(x, y, grad)
            return value, grad

        return evaluate

    return prepare


def l1_backward(x, y, grad):
    torch.sub(x, y, out=grad)
    grad.sign_().div_(x.numel())


def logits_backward(x, y, grad):
    torch.sigmoid(x, out=grad)
    grad.sub_(y).div_(x.numel())


ONE = torch.ones(())


def cross_entropy(x, target):
    log_probs, by_log_prob, grad = (torch.empty_like(x) for _ in range(3))
    forward, backward = aten.nll_loss_forward, aten.nll_loss_backward
    if x.dim() == 4:
        forward, backward = aten.nll_loss2d_forward, aten.nll_loss2d_backward
    value, weight = torch.empty(()), torch.empty(())

    def evaluate():
        aten._log_softmax.out(x, 1, False, out=log_probs)
        forward.output(log_probs, target, None, MEAN, NOT_IGNORED, output=value, total_weight=weight)
        backward.grad_input(ONE, log_probs, target, None, MEAN, NOT_IGNORED, weight, grad_input=by_log_prob)
        aten._log_softmax_backward_data.out(by_log_prob, log_probs, 1, x.dtype, out=grad)
        return value, grad

    return evaluate


def cross_entropy_probabilities(x, target):
    log_probs, scratch, grad = (torch.empty_like(x) for _ in range(3))
    samples = x.numel() // x.shape[1]

    def evaluate():
        aten._log_softmax.out(x, 1, False, out=log_probs)
        torch.mul(log_probs, target, out=scratch)
        value = scratch.sum().div_(-samples)
        torch.div(target, -samples, out=scratch)
        aten._log_softmax_backward_data.out(scratch, log_probs, 1, x.dtype, out=grad)
        return value, grad

    return evaluate


PREPARED = {
    "mse": pointwise(
        F.mse_loss, lambda x, y, grad: aten.mse_loss_backward.grad_input(ONE, x, y, MEAN, grad_input=grad)
    ),
    "l1": pointwise(F.l1_loss, l1_backward),
    "huber": pointwise(
        F.huber_loss, lambda x, y, grad: aten.huber_loss_backward.out(ONE, x, y, MEAN, 1.0, grad_input=grad)
    ),
    "smooth_l1": pointwise(
        F.smooth_l1_loss,
        lambda x, y, grad: aten.smooth_l1_loss_backward.grad_input(ONE, x, y, MEAN, 1.0, grad_input=grad),
    ),
    "bce": pointwise(
        F.binary_cross_entropy,
        lambda x, y, grad: aten.binary_cross_entropy_backward.grad_input(ONE, x, y, None, MEAN, grad_input=grad),
    ),
    "bce_with_logits": pointwise(F.binary_cross_entropy_with_logits, logits_backward),
    "cross_entropy": cross_entropy,
    "cross_entropy_probabilities": cross_entropy_probabilities,
}
