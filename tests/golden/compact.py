"""Packs what generate.py wrote into losses.json beside this file: python3 compact.py full.json

generate.py writes every case three times, once per reduction, though only the reduced value and a constant factor of
the gradient differ. Here a record holds all three, and arrays that several records share are stored once. Numbers stand
in strings, separated by spaces: the readers then parse them with their language's exact parser, which serde_json's own
(without its feature float_roundtrip) is not, and infinities and NaN need no rule of their own. README.md lists the
fields.

Before it ends, the script reads its output back, expands it, and compares it with the source.
"""
import json, math, pathlib, re, struct, sys

REDUCTIONS = ("none", "mean", "sum")
TOLERANCE = 1e-15    # relative, of an expanded gradient; everything else comes back exactly


def number(word):
    """float, also of the words that generate.py writes for infinities and NaN."""
    return float(word)


def short(text):
    """The same number with nothing superfluous: 1.0 -> 1, 1e-05 -> 1e-5, 3e+38 -> 3e38."""
    return re.sub(r"e\+?(-?)0*", r"e\1", re.sub(r"\.0$", "", text))


def f64_text(x):
    """The shortest decimal that reads back as x, at most 17 digits."""
    return short(repr(x))


def f32_text(x):
    """The shortest decimal that reads back as x when read as an f32, which x is."""
    if not math.isfinite(x):
        return repr(x)
    for digits in range(1, 10):
        text = f"{x:.{digits}g}"
        y = float(text)
        # the neighbours too: then text is no tie between two f32, whether or not the reader goes through f64
        if all(struct.unpack("f", struct.pack("f", v))[0] == x
               for v in (y, math.nextafter(y, -math.inf), math.nextafter(y, math.inf))):
            return short(text)
    raise AssertionError(f"{x!r} is no f32")


def read_f32(text):
    return [struct.unpack("f", struct.pack("f", float(word)))[0] for word in text.split()]


def read_f64(text):
    return [float(word) for word in text.split()]


def join(text, numbers):
    return " ".join(text(number(x)) for x in numbers)


def divisor(case):
    """What the mean divides by: the number of samples, or with class indices the weights of the rows counted."""
    shape, weight = case["shape"], case["options"].get("weight")
    if case["loss"] in ("cross_entropy", "nll"):
        counted = [t for t in case["target"] if t != -100]
        return math.fsum(number(weight[t]) for t in counted) if weight else float(len(counted))
    if case["loss"] == "cross_entropy_probs":
        return float(shape[0])
    return float(math.prod(shape))


def close(x, y):
    x, y = number(x), number(y)
    return x == y or math.isnan(x) and math.isnan(y) or abs(x - y) <= TOLERANCE * abs(y)


def compact(source):
    tensors, index = [], {}

    def tensor(numbers):
        text = join(f32_text, numbers)
        if text not in index:
            index[text] = len(tensors)
            tensors.append(text)
        return index[text]

    records = []
    cases = source["cases"]
    for triple in zip(*[iter(cases)] * 3, strict=True):
        none, mean, total = triple
        assert tuple(c["reduction"] for c in triple) == REDUCTIONS
        assert all(none[k] == c[k] for c in triple for k in ("loss", "note", "shape", "input", "target", "options"))
        assert total["grad"] == none["grad"]
        record = dict(loss=none["loss"], note=none["note"], shape=none["shape"],
                      input=tensor(none["input"]), target=tensor(none["target"]))
        options = dict(none["options"])
        if "weight" in options:
            record["weight"] = tensor(options.pop("weight"))
        # short decimals are exact in any JSON reader
        assert all(len(repr(v)) <= 15 for v in options.values())
        d = divisor(none)
        record.update(options=options, divisor=f64_text(d))
        record.update((c["reduction"], join(f64_text, c["value"])) for c in triple)
        record["grad"] = join(f64_text, none["grad"])
        # where terms cancel, PyTorch's rounding errors survive the division, and an element differs from its quotient
        exceptions = [f"{i} {f64_text(g)}" for i, g in enumerate(mean["grad"]) if not close(none["grad"][i] / d, g)]
        if exceptions:
            record["mean_grad_except"] = " ".join(exceptions)
        records.append(record)
    return dict(torch=source["torch"], cases=len(cases), tensors=tensors, records=records)


def expand(packed):
    for record in packed["records"]:
        weight = {"weight": read_f32(packed["tensors"][record["weight"]])} if "weight" in record else {}
        for reduction in REDUCTIONS:
            grad = read_f64(record["grad"])
            if reduction == "mean":
                grad = [g / float(record["divisor"]) for g in grad]
                words = record.get("mean_grad_except", "").split()
                for i, g in zip(words[::2], words[1::2]):
                    grad[int(i)] = float(g)
            yield dict(loss=record["loss"], note=record["note"], reduction=reduction, shape=record["shape"],
                       input=read_f32(packed["tensors"][record["input"]]),
                       target=read_f32(packed["tensors"][record["target"]]), options=record["options"] | weight,
                       value=read_f64(record[reduction]), grad=grad)


def same(x, y):
    """Equal numbers, NaN and the sign of zero included."""
    x, y = number(x), number(y)
    return math.isnan(x) and math.isnan(y) or x == y and math.copysign(1, x) == math.copysign(1, y)


def check(packed, source):
    expanded = list(expand(packed))
    assert len(expanded) == len(source["cases"]) == packed["cases"]
    for got, want in zip(expanded, source["cases"]):
        assert set(got) == set(want)
        assert all(got[k] == want[k] for k in ("loss", "note", "reduction", "shape"))
        pairs = [(got[k], want[k], same) for k in ("input", "target", "value")]
        pairs.append((got["grad"], want["grad"], close if want["reduction"] == "mean" else same))
        assert set(got["options"]) == set(want["options"])
        for k, v in want["options"].items():
            pairs.append((got["options"][k], v, same) if k == "weight" else ([got["options"][k]], [v], same))
        for a, b, equal in pairs:
            assert len(a) == len(b) and all(map(equal, a, b)), (got["loss"], got["note"], got["reduction"])


def lines(packed):
    """JSON with a tensor or a record a line, so that a change of one shows as one."""
    one = lambda value: json.dumps(value, separators=(",", ":"))
    rows = lambda values: "[\n" + ",\n".join(map(one, values)) + "\n]"
    return ('{"torch":%s,"cases":%d,\n"tensors":%s,\n"records":%s}\n'
            % (one(packed["torch"]), packed["cases"], rows(packed["tensors"]), rows(packed["records"])))


if __name__ == "__main__":
    source = json.loads(pathlib.Path(sys.argv[1]).read_text())
    output = pathlib.Path(__file__).with_name("losses.json")
    output.write_text(lines(compact(source)))
    packed = json.loads(output.read_text())
    check(packed, source)
    excepted = sum(len(r.get("mean_grad_except", "").split()) // 2 for r in packed["records"])
    print(f"{packed['cases']} cases, {len(packed['records'])} records, {len(packed['tensors'])} tensors, "
          f"{excepted} gradients of means kept apart, {output.stat().st_size} bytes")
