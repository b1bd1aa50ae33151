"""Checks and times the linear layers of products.ts beside PyTorch: python3 products.py DIRECTORY [--variants]

Rates are of multiplications and additions; medians of runs on the device, both sides in one process. PyTorch's times are
those of the products alone, without SwiGLU and residual. --variants times every
way to run a product as well, rather than the one that the runtime chooses.
"""
import json
import pathlib
import statistics
import sys

import numpy as np
import torch
import torch.nn.functional as F

import hew
from bench import timed


def operands(shape):
    torch.manual_seed(shape["rows"] + shape["columns"])
    rows, columns, inner, kind = (shape[key] for key in ("rows", "columns", "inner", "kind"))
    make = lambda *sizes: torch.randn(*sizes, device="cuda", dtype=torch.bfloat16)
    weight = lambda: make(columns, inner) / inner ** 0.5
    made = {"x": make(rows, inner)}
    made.update({"gate": weight(), "up": weight()} if kind == "gated" else {"w": weight()})
    if kind == "residual":
        made["h"] = torch.randn(rows, columns, device="cuda")
    return made


def reference(kind, t):
    if kind == "gated":
        return F.silu(t["x"] @ t["gate"].T) * (t["x"] @ t["up"].T)
    product = t["x"] @ t["w"].T
    return t["h"] + product.float() if kind == "residual" else product


def on_host(tensor):
    host = tensor.cpu()
    return host.numpy() if host.dtype == torch.float32 else host.view(torch.int16).numpy().view(np.uint16)


def error(shape, output, wanted):
    actual = torch.from_numpy(output.view(np.int16) if output.dtype == np.uint16 else output)
    actual = actual.view(torch.bfloat16) if output.dtype == np.uint16 else actual
    actual = actual.reshape(shape["rows"], shape["columns"]).to("cuda")
    difference = torch.linalg.vector_norm(actual.float() - wanted.float()) / torch.linalg.vector_norm(wanted.float())
    return float(difference)


def run(bundle, shape, variant, given, wanted):
    """Milliseconds and relative error of one product; `variant` is a number, or None for the runtime's choice."""
    original = (bundle / "manifest.json").read_text()
    if variant is not None:
        content = json.loads(original)
        for step in content["entries"]["main"]["plan"]:
            step["variants"] = step["variants"][variant:variant + 1]
        (bundle / "manifest.json").write_text(json.dumps(content))
    try:
        model = hew.Model(bundle)
    finally:
        (bundle / "manifest.json").write_text(original)
    wrong = error(shape, model.step("main", given)["y"], wanted)
    milliseconds = statistics.median(model.measure("main", given, outputs=["y"], repeats=20))
    model.close()
    return milliseconds, wrong


def main(directory, with_variants):
    print(f"{'product':16} {'error':>8} {'Hew':>8} {'TFLOP/s':>8} {'PyTorch':>8} {'TFLOP/s':>8} {'ratio':>6}")
    passed = True
    for shape in json.loads((directory / "products.json").read_text()):
        bundle = directory / shape["name"]
        flops = 2 * shape["rows"] * shape["columns"] * shape["inner"] * (2 if shape["kind"] == "gated" else 1)
        plan = json.loads((bundle / "manifest.json").read_text())["entries"]["main"]["plan"]
        names = [v["kernel"].rsplit("_", 1)[1] for v in plan[0].get("variants", [])]
        variants = [None, *range(len(names))] if with_variants and flops < 3e12 else [None]
        tensors = operands(shape)
        other = timed(lambda: [tensors["x"] @ tensors[name].T for name in ("w", "gate", "up") if name in tensors], 20)
        given = {name: on_host(value).ravel() for name, value in tensors.items()}
        wanted = reference(shape["kind"], tensors)
        del tensors
        for variant in variants:
            try:
                own, wrong = run(bundle, shape, variant, given, wanted)
            except hew.HewError as problem:
                print(f"{shape['name']:16} {problem}", flush=True)
                passed = False
                continue
            passed &= wrong <= 1e-2
            name = shape["name"] if variant is None else f"  {names[variant]}"
            rates = [flops / ms / 1e9 for ms in (own, other)]
            note = "" if wrong <= 1e-2 else "  WRONG"
            print(f"{name:16} {wrong:8.1e} {own:8.4f} {rates[0]:8.1f} {other:8.4f} {rates[1]:8.1f} {other / own:6.2f}{note}", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(0 if main(pathlib.Path(sys.argv[1]), "--variants" in sys.argv) else 1)
