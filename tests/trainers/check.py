"""Trains each model twice, with the library's own objective and with losskit's, and compares: README.md says what.

usage: check.py LIBRARY...       the first that is there is taken
"""

import dataclasses
import math
import re
import sys
from pathlib import Path

import lightgbm
import numpy as np
import xgboost
from sklearn import datasets
from sklearn.model_selection import train_test_split

from losskit import Losskit

ROUNDS = 50
# XGBoost computes in float32: gradients of another rounding move a margin by a few units in its last place a tree.
MARGIN_DIGITS = 2e-6  # of the larger of 1 and the margin
METRIC_DIGITS = 5e-7  # of 1, a loss's scale
# LightGBM hands out scores in float64 and rounds gradients to float32, after which nothing is left of an ULP.
LIGHTGBM_DIGITS = 1e-12

failures = []


def report(what, checks):
    """Checks are pairs of a name and whether it holds."""
    wrong = [name for name, holds in checks if not holds]
    print(f"{'FAIL' if wrong else 'ok':5}{what}{': ' if wrong else ''}{', '.join(wrong)}", flush=True)
    failures.extend(f"{what}: {name}" for name in wrong)


@dataclasses.dataclass
class Data:
    """A data set of scikit-learn's, a quarter of it held back, with weights that mean nothing."""

    train: np.ndarray
    test: np.ndarray
    train_target: np.ndarray
    test_target: np.ndarray
    classes: int

    @classmethod
    def load(cls, name):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        # float32 holds these targets exactly
        parts = train_test_split(x.astype(np.float32), y.astype(np.float32), test_size=0.25, random_state=1)
        return cls(*parts, classes=len(np.unique(y)))

    def weights(self):
        return (0.5 + 0.25 * (np.arange(len(self.train)) % 5)).astype(np.float32)


@dataclasses.dataclass
class Model:
    """What is compared of a trained model."""

    trees: list  # all splits, no leaves' values
    margins: dict  # raw scores of training and test samples
    metrics: dict  # each of them after every round

    def differs(self, other):
        """The largest difference of margins, against the larger of 1 and the margin, and of metrics likewise."""

        def largest(a, b):
            assert a.keys() == b.keys()
            return max(np.max(np.abs(a[key] - b[key]) / np.maximum(1, np.abs(a[key]))) for key in a)

        return largest(self.margins, other.margins), largest(self.metrics, other.metrics)


def compare(what, own, ours, margin_digits, metric_digits):
    margin, metric = own.differs(ours)
    last = ", ".join(f"{key} {values[-1]:.6g}" for key, values in own.metrics.items())
    same = "to the bit" if margin == 0 else f"within {margin:.1e}"
    report(
        f"{what} ({last}; margins {same}, metrics {'to the bit' if metric == 0 else f'within {metric:.1e}'})",
        [
            ("the trees' splits are the same", own.trees == ours.trees),
            (f"margins agree within {margin_digits}", margin <= margin_digits),
            (f"metrics agree within {metric_digits}", metric <= metric_digits),
        ],
    )


# ---- XGBoost


def xgboost_model(data, params, objective=None, weight=None):
    """An `objective` of (margins, targets, weights) takes the place of the gradients: all else in `params` stays."""
    train = xgboost.DMatrix(data.train, data.train_target, weight=weight)
    test = xgboost.DMatrix(data.test, data.test_target)
    call = objective and (lambda margins, of: objective(margins, data.train_target, weight))
    record = {}
    # the starting point is given: XGBoost estimates one for its own objectives and not for others
    params = {"base_score": 0.5, "eta": 0.3, "max_depth": 4, "nthread": 2, **params}
    sets = {"train": train, "test": test}
    booster = xgboost.train(
        params,
        train,
        ROUNDS,
        evals=[(each, name) for name, each in sets.items()],
        obj=call,
        evals_result=record,
        verbose_eval=False,
    )
    return Model(
        trees=[re.sub("leaf=.*", "leaf", tree) for tree in booster.get_dump()],
        margins={name: booster.predict(each, output_margin=True) for name, each in sets.items()},
        metrics={f"{name} {metric}": np.array(v) for name in record for metric, v in record[name].items()},
    )


def check_xgboost(losskit):
    cancer, digits, iris, diabetes = (Data.load(name) for name in ["breast_cancer", "digits", "iris", "diabetes"])

    # Deeper trees split handfuls of these samples, where two features may part them alike: a tie, which the last digit
    # decides.
    logistic = {"objective": "binary:logistic", "eval_metric": ["logloss", "error"], "max_depth": 2}
    plain = xgboost_model(cancer, logistic)
    ours = xgboost_model(cancer, logistic, lambda x, y, _: losskit.bce_with_logits(x, y)[1:])
    compare("XGBoost, breast_cancer, binary:logistic", plain, ours, MARGIN_DIGITS, METRIC_DIGITS)
    mean = losskit.bce_with_logits(plain.margins["test"], cancer.test_target)[0] / len(cancer.test)
    own = plain.metrics["test logloss"][-1]
    report(f"XGBoost's logloss is losskit's loss ({mean:.9f})", [(f"not {own:.9f}", abs(mean - own) <= METRIC_DIGITS)])

    weight = cancer.weights()
    own = xgboost_model(cancer, logistic, weight=weight)
    ours = xgboost_model(cancer, logistic, lambda x, y, w: losskit.bce_with_logits(x, y, w)[1:], weight)
    compare("XGBoost, breast_cancer, binary:logistic, weights", own, ours, MARGIN_DIGITS, METRIC_DIGITS)
    report("... and weights matter", [("they do not", own.differs(plain)[0] > 0.1)])

    own = xgboost_model(cancer, {**logistic, "scale_pos_weight": 0.6})
    ours = xgboost_model(cancer, logistic, lambda x, y, _: losskit.bce_with_logits(x, y, pos_weight=0.6)[1:])
    compare("XGBoost, breast_cancer, scale_pos_weight is pos_weight", own, ours, MARGIN_DIGITS, METRIC_DIGITS)

    for name, data in [("iris", iris), ("digits", digits)]:
        softmax = {"objective": "multi:softprob", "num_class": data.classes, "eval_metric": ["mlogloss", "merror"]}

        def gradients(x, y, w, hess_factor):
            _, grad, hess = losskit.cross_entropy(x, y, w)
            return grad, np.float32(hess_factor) * hess

        doubled = lambda x, y, w: gradients(x, y, w, 2)
        exact = lambda x, y, w: gradients(x, y, w, 1)
        own = xgboost_model(data, softmax)
        ours = xgboost_model(data, softmax, doubled)
        compare(f"XGBoost, {name}, multi:softprob, twice the Hessian", own, ours, MARGIN_DIGITS, METRIC_DIGITS)
        mean = losskit.cross_entropy(own.margins["test"], data.test_target)[0] / len(data.test)
        last = own.metrics["test mlogloss"][-1]
        is_last = abs(mean - last) <= METRIC_DIGITS
        report(f"XGBoost's mlogloss is losskit's loss ({mean:.9f})", [(f"not {last:.9f}", is_last)])

        # Half of everything that stands beside 2 H makes the same steps of H, and powers of two round nothing.
        halves = {"eta": 0.15, "reg_lambda": 0.5, "min_child_weight": 0.5}
        ours_exact = xgboost_model(data, {**softmax, **halves}, exact)
        compare(f"XGBoost, {name}, the Hessian as it is, half eta and lambda", ours, ours_exact, 0, 0)
        report(
            "... which is another model without them",
            [("it is not", own.differs(xgboost_model(data, softmax, exact))[0] > 0.1)],
        )

    softmax = {"objective": "multi:softprob", "num_class": iris.classes, "eval_metric": "mlogloss", "max_depth": 2}
    own = xgboost_model(iris, softmax, weight=iris.weights())
    ours = xgboost_model(iris, softmax, doubled, iris.weights())
    compare("XGBoost, iris, multi:softprob, weights", own, ours, MARGIN_DIGITS, METRIC_DIGITS)

    squares = {"objective": "reg:squarederror", "base_score": 150}
    own = xgboost_model(diabetes, squares)
    # XGBoost's is d^2 / 2
    ours = xgboost_model(diabetes, squares, lambda x, y, _: losskit.mse(x, y, scale=0.5)[1:])
    compare("XGBoost, diabetes, reg:squarederror", own, ours, 0, 0)
    rmse = math.sqrt(losskit.mse(own.margins["test"], diabetes.test_target)[0] / len(diabetes.test))
    last = own.metrics["test rmse"][-1]
    report(
        f"XGBoost's rmse is the root of losskit's loss ({rmse:.6f})",
        [(f"not {last:.6f}", abs(rmse - last) <= 1e-6 * last)],
    )

    wide = xgboost_model(diabetes, squares, lambda x, y, _: losskit.huber(x, y, 1e6)[1:])
    compare("XGBoost, diabetes, reg:squarederror is huber with a delta beyond all residuals", own, wide, 0, 0)

    def by_numpy(x, y, _):
        d = x - y
        return np.clip(d, -30, 30), (np.abs(d) <= 30).astype(np.float32)

    formula = xgboost_model(diabetes, squares, by_numpy)
    ours = xgboost_model(diabetes, squares, lambda x, y, _: losskit.huber(x, y, 30)[1:])
    compare("XGBoost, diabetes, huber, and its formula in NumPy", formula, ours, 0, 0)
    report("... which is not the squared error", [("it is", own.differs(ours)[0] > 0.1)])


# ---- LightGBM


def lightgbm_model(data, params, objective=None, metric=None, weight=None):
    """An `objective` of (scores, targets, weights), in float64. LightGBM's metrics know nothing of it, so `metric`, of
    (scores, targets), takes their place."""
    train = lightgbm.Dataset(data.train, data.train_target, weight=weight)
    test = lightgbm.Dataset(data.test, data.test_target, reference=train)
    record = {}
    params = {
        "learning_rate": 0.1,
        "num_leaves": 15,
        "min_data_in_leaf": 10,
        "num_threads": 2,
        "deterministic": True,
        "force_col_wise": True,
        "boost_from_average": False,  # losskit's begins at 0
        "verbose": -1,
        **params,
    }
    feval = metric and (lambda scores, _: ("metric", metric(scores, data.test_target), False))
    if objective:
        params |= {"objective": lambda scores, _: objective(scores, data.train_target, weight), "metric": "None"}
    booster = lightgbm.train(
        params, train, ROUNDS, valid_sets=[test], feval=feval, callbacks=[lightgbm.record_evaluation(record)]
    )
    (values,) = record["valid_0"].values()
    splits = ("split_feature=", "threshold=", "left_child=", "right_child=")
    scores = {"train": data.train, "test": data.test}
    return Model(
        trees=[line for line in booster.model_to_string().splitlines() if line.startswith(splits)],
        margins={name: booster.predict(x, raw_score=True) for name, x in scores.items()},
        metrics={"test metric": np.array(values)},
    )


def check_lightgbm(losskit):
    cancer, digits, iris, diabetes = (Data.load(name) for name in ["breast_cancer", "digits", "iris", "diabetes"])

    def both(what, data, params, objective, loss, weight=None):
        """`loss` is what LightGBM's metric is the mean of."""
        own = lightgbm_model(data, params, weight=weight)
        mean = lambda scores, targets: loss(scores, targets) / len(targets)
        ours = lightgbm_model(data, params, objective, mean, weight)
        compare(f"LightGBM, {what}", own, ours, LIGHTGBM_DIGITS, LIGHTGBM_DIGITS)
        return own

    logistic = lambda x, y, w: losskit.bce_with_logits(x, y, w)[1:]
    logloss = lambda x, y: losskit.bce_with_logits(x, y)[0]
    binary = {"objective": "binary"}
    plain = both("breast_cancer, binary", cancer, binary, logistic, logloss)
    weighted = both("breast_cancer, binary, weights", cancer, binary, logistic, logloss, cancer.weights())
    report("... and weights matter", [("they do not", plain.differs(weighted)[0] > 0.1)])
    both(
        "breast_cancer, scale_pos_weight is pos_weight",
        cancer,
        {"objective": "binary", "scale_pos_weight": 0.6},
        lambda x, y, _: losskit.bce_with_logits(x, y, pos_weight=0.6)[1:],
        logloss,
    )

    for name, data in [("iris", iris), ("digits", digits)]:
        classes = data.classes

        def softmax(x, y, w):
            _, grad, hess = losskit.cross_entropy(x, y, w)
            return grad, hess * (classes / (classes - 1))

        both(
            f"{name}, multiclass, {classes}/{classes - 1} of the Hessian",
            data,
            {"objective": "multiclass", "num_class": classes},
            softmax,
            lambda x, y: losskit.cross_entropy(x, y)[0],
        )

    both(
        "diabetes, regression",
        diabetes,
        {"objective": "regression"},
        lambda x, y, _: losskit.mse(x, y, scale=0.5)[1:],
        lambda x, y: losskit.mse(x, y)[0],
    )
    # LightGBM takes the Hessian as 1 also where Huber's loss is straight
    both(
        "diabetes, huber, Hessian 1",
        diabetes,
        {"objective": "huber", "alpha": 30},
        lambda x, y, _: (losskit.huber(x, y, 30)[1], np.ones_like(x)),
        lambda x, y: losskit.huber(x, y, 30)[0],
    )


def main():
    library = next((path for path in sys.argv[1:] if Path(path).exists()), None)
    if library is None:
        sys.exit(__doc__)
    losskit = Losskit(library)
    print(f"losskit {losskit.version}, XGBoost {xgboost.__version__}, LightGBM {lightgbm.__version__}")
    check_xgboost(losskit)
    check_lightgbm(losskit)
    if failures:
        sys.exit(f"{len(failures)} failed")
    print("models by losskit's gradients are those of the built-in objectives")


if __name__ == "__main__":
    main()
