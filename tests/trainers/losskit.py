"""What a boosting library needs of losskit, through its C ABI: a loss, and each element's gradient and Hessian.

Arrays are float32 or float64, whichever the predictions are; nothing is converted on the way.
"""

import ctypes
from ctypes import c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p

import numpy as np

SUM = 1
I32 = 2


class Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("reduction", c_int32),
        ("flags", c_uint32),
        ("grad_scale", c_double),
        ("weight_sum", c_void_p),
        ("cost", c_void_p),
        ("min_hess", c_double),
    ]


class ClassShape(ctypes.Structure):
    _fields_ = [
        (name, c_size_t) for name in ["struct_size", "outer", "classes", "inner", "outer_stride", "class_stride", "row_length", "row_stride", "grad_outer_stride", "grad_class_stride"]
    ]


class Losskit:
    """Each loss gives (sum, gradient, Hessian). A sum's gradient is each sample's own, as boosting wants it."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        self.library.lk_last_error.restype = self.library.lk_version.restype = ctypes.c_char_p
        self.version = self.library.lk_version().decode()

    def mse(self, prediction, target, weight=None, scale=1.0):
        return self._pointwise("lk_mse", prediction, target, weight, [], scale)

    def huber(self, prediction, target, delta, weight=None):
        real = c_float if prediction.dtype == np.float32 else c_double
        return self._pointwise("lk_huber", prediction, target, weight, [real(delta)])

    def bce_with_logits(self, logit, target, weight=None, pos_weight=1.0):
        pos_weight = np.array([pos_weight], logit.dtype)
        return self._pointwise("lk_bce_with_logits", logit, target, weight, [_pointer(pos_weight), c_size_t(1), None])

    def cross_entropy(self, logits, target, weight=None):
        logits = np.ascontiguousarray(logits)
        rows, classes = logits.shape
        shape = ClassShape(ctypes.sizeof(ClassShape), rows, classes, 1)
        target = _of(target, np.int32, (rows,))
        weight = None if weight is None else _of(weight, logits.dtype, (rows,))
        before = [None, ctypes.byref(shape), _pointer(logits), c_int32(I32), _pointer(target)]
        return self._call("lk_cross_entropy", [*before, None, _pointer(weight), None], logits)

    def _pointwise(self, name, prediction, target, weight, own, scale=1.0):
        prediction = np.ascontiguousarray(prediction)
        target = _of(target, prediction.dtype, prediction.shape)
        weight = None if weight is None else _of(weight, prediction.dtype, prediction.shape)
        before = [None, c_size_t(prediction.size), _pointer(prediction), _pointer(target), _pointer(weight), *own]
        return self._call(name, before, prediction, scale)

    def _call(self, name, before, prediction, scale=1.0):
        options = Options(ctypes.sizeof(Options), SUM, 0, scale, None, None, 0.0)
        loss, grad, hess = np.empty(1, prediction.dtype), np.empty_like(prediction), np.empty_like(prediction)
        function = getattr(self.library, name + {"float32": "_f32", "float64": "_f64"}[prediction.dtype.name])
        status = function(*before, ctypes.byref(options), _pointer(loss), _pointer(grad), _pointer(hess))
        if status != 0:
            raise RuntimeError(f"{name}: status {status}: {self.library.lk_last_error().decode()}")
        return float(loss[0]), grad, hess


def _of(array, dtype, shape):
    array = np.ascontiguousarray(array, dtype)
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape}, {shape} is needed")
    return array


def _pointer(array):
    return None if array is None else array.ctypes.data_as(c_void_p)
