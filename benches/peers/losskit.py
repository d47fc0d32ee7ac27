"""losskit through its C ABI."""

import ctypes
import math
import os
import pathlib
import subprocess
from ctypes import POINTER, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p

import numpy as np

from contestant import Contestant
from works import GAMMA

ROOT = pathlib.Path(__file__).resolve().parents[2]
NONE = 2
F32, I64 = 0, 3
TD_MSE, TD_HUBER = 0, 1


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("reduction", c_int32),
        ("flags", c_uint32),
        ("grad_scale", c_double),
        ("weight_sum", POINTER(c_double)),
        ("cost", c_void_p),
        ("min_hess", c_double),
    ]


class ClassShape(ctypes.Structure):
    _fields_ = [
        (name, c_size_t) for name in ["struct_size", "outer", "classes", "inner", "outer_stride", "class_stride", "row_length", "row_stride", "grad_outer_stride", "grad_class_stride"]
    ]


class TdShape(ctypes.Structure):
    _fields_ = [(name, c_size_t) for name in ["struct_size", "batch", "actions", "row_stride"]]


class TdParams(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("gamma", c_double), ("loss", c_int32), ("delta", c_double)]


class LinearShape(ctypes.Structure):
    _fields_ = [(name, c_size_t) for name in ["struct_size", "rows", "width", "classes"]]


class LinearParams(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("ignore_index", c_int64),
        ("label_smoothing", c_double),
        ("z_loss", c_double),
        ("soft_cap", c_double),
        ("memory", c_size_t),
    ]


def build():
    """The shared library, made by cargo."""
    command = ["cargo", "rustc", "--quiet", "--lib", "--release", "--features", "capi", "--crate-type", "cdylib"]
    subprocess.run(command, cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "liblosskit.so"


def pointer(array):
    return None if array is None else array.ctypes.data_as(c_void_p)


class Losskit:
    name = "losskit"

    def __init__(self, path, threads):
        self.library = ctypes.CDLL(str(path))
        for name in ["lk_last_error", "lk_version", "lk_isa_name"]:
            getattr(self.library, name).restype = ctypes.c_char_p
        self.context = c_void_p()
        self.check(self.library.lk_context_create(c_size_t(threads), c_int32(0), ctypes.byref(self.context)))

    def check(self, status):
        if status != 0:
            raise RuntimeError(f"status {status}: {self.library.lk_last_error().decode()}")

    def version(self):
        return self.library.lk_version().decode()

    def isa(self):
        return self.library.lk_isa_name(self.context).decode()

    def arguments(self, loss, arrays, options, value, grad):
        """The function of a loss and what it takes. Structs live as long as the tuple."""
        outputs = [options and ctypes.byref(options), pointer(value), pointer(grad), None]
        if loss.startswith("td"):
            rows, actions = arrays["q"].shape
            shape = TdShape(ctypes.sizeof(TdShape), rows, actions, 0)
            params = TdParams(ctypes.sizeof(TdParams), GAMMA, TD_HUBER if loss == "td_huber" else TD_MSE, 1.0)
            q, action, reward, done, next_q = (pointer(arrays[k]) for k in ["q", "action", "reward", "done", "next_q"])
            inputs = [ctypes.byref(shape), q, c_int32(I64), action, reward, done, next_q, None, None]
            return self.library.lk_td_f32, [self.context, *inputs, ctypes.byref(params), *outputs, None]
        x, y = pointer(arrays["input"]), pointer(arrays["target"])
        if loss.startswith("cross_entropy"):
            outer, classes, *inner = arrays["input"].shape
            shape = ClassShape(ctypes.sizeof(ClassShape), outer, classes, math.prod(inner))
            kind = I64 if loss == "cross_entropy" else F32
            inputs = [ctypes.byref(shape), x, c_int32(kind), y, None, None, None]
            return self.library.lk_cross_entropy_f32, [self.context, *inputs, *outputs]
        extra = {"huber": [c_float(1)], "smooth_l1": [c_float(1)], "bce_with_logits": [None, c_size_t(0), None]}
        inputs = [c_size_t(arrays["input"].size), x, y, None, *extra.get(loss, [])]
        return getattr(self.library, f"lk_{loss}_f32"), [self.context, *inputs, *outputs]

    def each_sample(self, loss, arrays):
        """Losses, and each one's own gradient."""
        x, options = arrays["input"], Options(ctypes.sizeof(Options), NONE, 0, 1.0, None, None, 0.0)
        value = np.zeros(len(x), np.float32)
        grad = np.zeros_like(x)
        function, arguments = self.arguments(loss, arrays, options, value, grad)
        self.check(function(*arguments))
        yield self.name, (value, grad)

    def contestants(self, work, arrays):
        x = arrays["q" if work.loss.startswith("td") else "input"]
        value, grad = np.zeros(1, np.float32), np.zeros_like(x) if work.with_grad else None
        function, arguments = self.arguments(work.loss, arrays, None, value, grad)
        yield Contestant(self.name, lambda: self.check(function(*arguments)), lambda: (float(value[0]), grad))

    def linear_contestant(self, name, arrays, memory):
        """Cross-entropy of a linear layer within so many bytes of logits. The first call makes arrays for results."""
        hidden, weight, bias, targets = arrays
        shape = LinearShape(ctypes.sizeof(LinearShape), *hidden.shape, len(weight))
        params = LinearParams(ctypes.sizeof(LinearParams), -100, 0, 0, 0, memory)
        inputs = [ctypes.byref(shape), pointer(hidden), pointer(weight), pointer(bias), c_int32(I64), pointer(targets)]
        results = []

        def call():
            if not results:
                results.extend([np.zeros(1, np.float32), *map(np.zeros_like, arrays[:3])])
            outputs = [ctypes.byref(params), None, *map(pointer, results)]
            self.check(self.library.lk_linear_cross_entropy_f32(self.context, *inputs, None, None, *outputs))

        return Contestant(name, call, lambda: (float(results[0][0]), results[1:]))
