"""Writes reference values and gradients of PyTorch's losses, computed in float64: python3 generate.py full.json

Every input is exactly representable in float32, so one file serves f32 and f64 tests. Needs torch (2.15.0 was used)
and mpmath. compact.py then makes losses.json of it.
"""
import json, math, sys, torch
import torch.nn.functional as F

torch.manual_seed(20261123)
cases = []

def f32(t):
    return t.to(torch.float32).to(torch.float64)

def enc(t):
    flat = t.detach().flatten().tolist()
    return [x if isinstance(x, int) or math.isfinite(x) else str(x) for x in flat]

def add(loss, fn, x, target, note="", shape=None, **options):
    """One case per reduction: value and d value / d input."""
    for reduction in ("none", "mean", "sum"):
        xi = x.clone().requires_grad_(True)
        value = fn(xi, target, reduction=reduction)
        value.sum().backward()
        opts = {k: (enc(v) if torch.is_tensor(v) else v) for k, v in options.items() if v is not None}
        cases.append(dict(loss=loss, note=note, reduction=reduction, shape=list(shape or x.shape), input=enc(x),
                          target=enc(target), options=opts, value=enc(value.reshape(-1)), grad=enc(xi.grad)))

def pointwise(loss, f, x, y, note="", **o):
    add(loss, lambda a, b, reduction: f(a, b, reduction), x, y, note, **o)

sizes = (1, 7, 33, 100)
for n in sizes:
    x, y = f32(torch.randn(n) * 2), f32(torch.randn(n) * 2)
    pointwise("mse", lambda a, b, r: F.mse_loss(a, b, reduction=r), x, y)
    pointwise("l1", lambda a, b, r: F.l1_loss(a, b, reduction=r), x, y)
    for d in (0.5, 1.0, 2.5):
        pointwise("huber", lambda a, b, r: F.huber_loss(a, b, reduction=r, delta=d), x, y, delta=d)
        pointwise("smooth_l1", lambda a, b, r: F.smooth_l1_loss(a, b, reduction=r, beta=d), x, y, beta=d)
    pointwise("smooth_l1", lambda a, b, r: F.smooth_l1_loss(a, b, reduction=r, beta=0.0), x, y, "beta 0 is l1", beta=0.0)
    p, t = f32(torch.rand(n)), f32((torch.rand(n) > 0.5).double())
    soft = f32(torch.rand(n))
    w = f32(torch.rand(n) * 2)
    pw = f32(torch.tensor(2.5))
    for tt, nm in ((t, "hard targets"), (soft, "soft targets")):
        pointwise("bce", lambda a, b, r: F.binary_cross_entropy(a, b, reduction=r), p, tt, nm)
        pointwise("bce", lambda a, b, r: F.binary_cross_entropy(a, b, weight=w, reduction=r), p, tt, nm, weight=w)
        z = f32(torch.randn(n) * 4)
        pointwise("bce_with_logits", lambda a, b, r: F.binary_cross_entropy_with_logits(a, b, reduction=r), z, tt, nm)
        pointwise("bce_with_logits", lambda a, b, r: F.binary_cross_entropy_with_logits(a, b, weight=w, pos_weight=pw, reduction=r), z, tt, nm, weight=w, pos_weight=2.5)
pointwise("bce", lambda a, b, r: F.binary_cross_entropy(a, b, reduction=r), torch.tensor([0., 1., 0., 1., 1e-30, 1e-45], dtype=torch.float64).to(torch.float32).double(), torch.tensor([1., 0., 0., 1., 1., 1.], dtype=torch.float64), "logs clamped at -100")
pointwise("bce_with_logits", lambda a, b, r: F.binary_cross_entropy_with_logits(a, b, reduction=r), torch.tensor([-300., -100., -88., -30., -1e-6, 0., 1e-6, 30., 88., 100., 300.] * 2, dtype=torch.float64).to(torch.float32).double(), torch.tensor([0.] * 11 + [1.] * 11, dtype=torch.float64), "saturated logits")
pointwise("l1", lambda a, b, r: F.l1_loss(a, b, reduction=r), torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64), "gradient 0 at the kink")
pointwise("huber", lambda a, b, r: F.huber_loss(a, b, reduction=r, delta=1.0), torch.tensor([1., -1., 0., 2.], dtype=torch.float64), torch.zeros(4, dtype=torch.float64), "at the joint |d| = delta", delta=1.0)

for rows, classes in ((1, 2), (5, 3), (9, 10), (4, 17), (3, 100), (1, 1031)):
    for scale in (1.0, 8.0):
        x = f32(torch.randn(rows, classes) * scale)
        t = torch.randint(0, classes, (rows,))
        t_ign = t.clone(); t_ign[0] = -100
        w = f32(torch.rand(classes) + 0.25)
        probs = f32(torch.softmax(torch.randn(rows, classes, dtype=torch.float64), -1))
        combos = [(0.0, None), (0.1, w)] if classes >= 100 else [(a, b) for a in (0.0, 0.1) for b in (None, w)]
        for smoothing, weight in combos:
            ce = lambda a, b, reduction: F.cross_entropy(a, b, weight=weight, label_smoothing=smoothing, reduction=reduction)
            add("cross_entropy", ce, x, t, label_smoothing=smoothing, weight=weight)
            if rows > 1:
                add("cross_entropy", ce, x, t_ign, "row 0 ignored", label_smoothing=smoothing, weight=weight, ignore_index=-100)
            add("cross_entropy_probs", ce, x, probs, label_smoothing=smoothing, weight=weight)
        lp = f32(torch.log_softmax(x, -1))
        for weight in (None, w):
            nll = lambda a, b, reduction: F.nll_loss(a, b, weight=weight, reduction=reduction)
            add("nll", nll, lp, t, weight=weight)
            if rows > 1:
                add("nll", nll, lp, t_ign, "row 0 ignored", weight=weight, ignore_index=-100)
x = f32(torch.randn(2, 5, 3, 4) * 3); t = torch.randint(0, 5, (2, 3, 4))
add("cross_entropy", lambda a, b, reduction: F.cross_entropy(a, b, reduction=reduction), x, t, "[N, C, H, W] layout: outer 2, classes 5, inner 12")
# Rows where the target all but certainly wins: PyTorch subtracts two nearly equal numbers there, and loses the answer
# even in float64. The expected values of these cases come from mpmath instead, at 60 digits.
import mpmath as mp
mp.mp.dps = 60
def add_exact(rows, targets, note):
    n = len(rows)
    x = torch.tensor(rows, dtype=torch.float64).to(torch.float32).double()
    loss, grad = [], []
    for row, t in zip(x.tolist(), targets):
        e = [mp.e ** (mp.mpf(v) - mp.mpf(row[t])) for v in row]
        rest = sum(v for i, v in enumerate(e) if i != t)
        loss.append(float(mp.log1p(rest) if rest < mp.mpf("1e30") else mp.log(rest)))
        grad.append([float(-rest / (1 + rest) if i == t else v / (1 + rest)) for i, v in enumerate(e)])
    for reduction, value, scale in (("none", loss, 1.0), ("mean", [math.fsum(loss) / n], 1.0 / n), ("sum", [math.fsum(loss)], 1.0)):
        cases.append(dict(loss="cross_entropy", note=note, reduction=reduction, shape=list(x.shape), input=enc(x), target=targets,
                          options={}, value=value, grad=[g * scale for r in grad for g in r]))
add_exact([[40., 0., -3., 1.], [0., 90., 0., 0.], [0., 12., 1., 2.], [-30., -30., 5., -31.]], [0, 1, 1, 2], "confident rows: exact values, PyTorch returns 0 or loses digits here")
hot = torch.tensor([[-1e4, 1e4, 0., 0.], [3e38, 0., 0., -3e38]], dtype=torch.float64).to(torch.float32).double()
add("cross_entropy", lambda a, b, reduction: F.cross_entropy(a, b, reduction=reduction), hot, torch.tensor([0, 0]), "extreme rows")
ninf = torch.tensor([[1., float("-inf"), 2.], [float("-inf"), 0., float("-inf")]], dtype=torch.float64)
add("cross_entropy", lambda a, b, reduction: F.cross_entropy(a, b, reduction=reduction), ninf, torch.tensor([0, 1]), "masked classes at -inf")
json.dump(dict(torch=torch.__version__.split("+")[0], cases=cases), open(sys.argv[1], "w"), separators=(",", ":"))
print(len(cases), "cases")
