"""Writes distillation.txt: divergences of near distributions and their gradients, word for word from their definitions, in
mpmath with 400 digits: python3 distillation.py

A line has the element type, beta, the temperature, the number of classes; then teacher, student, loss, and the gradient of
the student's logits. Logits are numbers of the element type, results are rounded to float64.
"""
import math, pathlib, random, struct
from mpmath import exp, log, mp, mpf

mp.dps = 400
random.seed(20261129)


def of(kind, x):
    return struct.unpack("f", struct.pack("f", x))[0] if kind == "f32" else x


def next_up(kind, x):
    if kind == "f64":
        return math.nextafter(x, math.inf)
    bits = struct.unpack("i", struct.pack("f", x))[0]
    return struct.unpack("f", struct.pack("i", bits + (1 if x > 0 else -1)))[0]


def softmax(logits, t):
    exponentials = [exp(mpf(x) / t) if x > -math.inf else mpf(0) for x in logits]
    total = sum(exponentials)
    return [e / total for e in exponentials]


def kl(p, q):
    return sum(a * log(a / b) for a, b in zip(p, q) if a > 0)


def results(beta, t, teacher, student):
    t, w = mpf(t), mpf(beta)
    p, q = softmax(teacher, t), softmax(student, t)
    if beta == 0:
        return kl(p, q), [(b - a) / t for a, b in zip(p, q)]
    if beta == 1:
        loss = kl(q, p)
        return loss, [b * (log(b / a) - loss) / t if b > 0 else mpf(0) for a, b in zip(p, q)]
    m = [w * a + (1 - w) * b for a, b in zip(p, q)]
    mean = kl(q, m)
    grad = [(1 - w) * b * (log(b / c) - mean) / t if b > 0 else mpf(0) for b, c in zip(q, m)]
    return w * kl(p, m) + (1 - w) * mean, grad


lines = []


def add(kind, t, teacher, student):
    teacher, student = [of(kind, x) for x in teacher], [of(kind, x) for x in student]
    for beta in (0, 1, 0.5, 0.125):
        loss, grad = results(beta, t, teacher, student)
        numbers = [*teacher, *student, float(loss), *map(float, grad)]
        lines.append(" ".join([kind, repr(float(beta)), repr(float(t)), str(len(teacher)), *map(repr, map(float, numbers))]))


for kind in ("f32", "f64"):
    teacher, change = [2, 0, 1, -1, 0.5], [1e-4, 0, -1e-4, 5e-5, 0]
    add(kind, 1, teacher, [x + d for x, d in zip(teacher, change)])
    for noise in (1, 1e-1, 1e-3, 1e-6, 1e-9):
        teacher = [of(kind, random.gauss(0, 2)) for _ in range(6)]
        add(kind, random.choice((1, 2, 0.7)), teacher, [x + random.gauss(0, noise) for x in teacher])
        # the same but for a constant, a confident row, and masked classes
        add(kind, 1, teacher, [x + 4 + random.gauss(0, noise) for x in teacher])
        teacher[2] += 20
        add(kind, 1, teacher, [x + random.gauss(0, noise) for x in teacher])
        teacher[4] = -math.inf
        add(kind, 3, teacher, [x + random.gauss(0, noise) for x in teacher])
    # one last place, in one class
    teacher = [of(kind, random.gauss(0, 2)) for _ in range(4)]
    for at in range(4):
        add(kind, 1, teacher, [next_up(kind, x) if j == at else x for j, x in enumerate(teacher)])
    # a class of hardly any weight is far away
    add(kind, 1, [0, 0.5, -30, 1], [1e-4, 0.5, -60, 1])
    add(kind, 1, [0, 0.5, -60, 1], [1e-4, 0.5, -30, 1])
    # the ends of the temperatures
    add(kind, 1e9, [3e9, -1e9, 2e8], [3.001e9, -1e9, 2e8])
    add(kind, 1e9, [1, 2, 3], [1.25, 2, 3])
    add(kind, 1e-9, [3e-9, -1e-9, 2e-10], [3.001e-9, -1e-9, 2e-10])
    # all classes alike but the largest
    teacher = [0] * 300
    add(kind, 1, teacher, [0.125 if j == 7 else 0 for j in range(300)])

pathlib.Path(__file__).with_name("distillation.txt").write_text("\n".join(lines) + "\n")
