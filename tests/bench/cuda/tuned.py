"""The same model compiled without and with choices of `hew tune`, in one process and in turns:

    python3 tuned.py PLAIN TUNED ENTRY [SYMBOL=VALUE..] [pos=POSITION]

Weights are made up, the same in both. Prints the medians and the difference of the outputs.
"""
import pathlib
import statistics
import sys

import numpy as np

import hew

ROUNDS, REPEATS = 5, 20


def size_of(size, symbols):
    if isinstance(size, int):
        return size
    terms, divisor = (size["sum"], size["divisor"]) if isinstance(size, dict) else (size, 1)
    return sum(int(np.prod([coefficient, *(symbols[name] for name in names)])) for coefficient, *names in terms) // divisor


def made_up(slot, symbols):
    count = int(np.prod([size_of(size, symbols) for size in slot["shape"]], dtype=np.int64))
    generator = np.random.default_rng(7)
    if slot["dtype"] in ("i32", "i64"):
        return generator.integers(0, 10, count).astype(hew._DTYPES[slot["dtype"]])
    return generator.standard_normal(count, np.float32)


def main(plain, tuned, entry, *settings):
    values = {name: int(value) for name, value in (setting.split("=") for setting in settings)}
    models = [hew.Model(bundle, synthetic_seed=1) for bundle in (plain, tuned)]
    manifest = models[0].manifest["entries"][entry]
    symbols = {name: values[name] for name in manifest["symbols"]}
    inputs = {slot["name"]: made_up(slot, symbols) for slot in manifest["inputs"]}
    names = [slot["name"] for slot in manifest["outputs"]][-1:]
    results, times = [], ([], [])

    def place(model):
        model.reset()
        if "pos" in values:
            model.write_state("pos", np.array([values["pos"]], np.int32))

    for model in models:
        place(model)
        result = model.step(entry, inputs, symbols, names)[names[0]]
        results.append(result.astype(np.float64))
        place(model)
    for _ in range(ROUNDS):
        for model, own in zip(models, times):
            own += model.measure(entry, inputs, symbols, names, REPEATS)
    without, chosen = (statistics.median(own) for own in times)
    error = np.linalg.norm(results[0] - results[1]) / max(np.linalg.norm(results[0]), 1e-30)
    title = " ".join([pathlib.Path(plain).name, entry, *settings])
    print(f"{title}: {without:.4f} ms, tuned {chosen:.4f} ms, {without / chosen:.3f} times as fast; outputs differ by {error:.1e}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
