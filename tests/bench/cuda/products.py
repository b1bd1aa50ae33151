"""Checks and times the linear layers of products.ts beside PyTorch: python3 products.py DIRECTORY [--variants]

Rates are of multiplications and additions; medians of runs on the device, both sides in one process. PyTorch's times are
those of the products alone in bf16, without SwiGLU and residual. --variants times every
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


def bytes_and_scales(rows, columns, inner, kind):
    whole = lambda *size, low=-128: torch.randint(low, 128, size, device="cuda", dtype=torch.int8)
    scales = lambda middle, *size: middle * (0.5 + torch.rand(*size, device="cuda"))
    made = {"x": whole(rows, inner), "w": whole(columns, inner, low=-127), "x_scale": scales(0.02, rows, 1), "x_zero": whole(rows, 1),
            "w_scale": scales(0.01 / inner ** 0.5, columns), "bias": torch.randn(columns, device="cuda")}
    made["w_sums"] = made["w"].sum(1, dtype=torch.int32)
    if kind == "i8-residual":
        made["h"] = torch.randn(rows, columns, device="cuda")
    if kind == "i8-gelu":
        made.update({"y_scale": scales(0.02, rows, 1), "y_zero": whole(rows, 1)})
    return made


def of_bytes(kind, t):
    # Sums of so few products of bytes are exact in f64, and by parts in f32.
    parts = [(slice(i, i + 512)) for i in range(0, t["x"].shape[1], 512)]
    sums = sum((t["x"][:, p].float() @ t["w"][:, p].float().T).to(torch.int32) for p in parts)
    product = (sums - t["x_zero"].int() * t["w_sums"]).float() * t["w_scale"] * t["x_scale"] + t["bias"]
    if kind == "i8":
        return product.bfloat16()
    if kind == "i8-residual":
        return t["h"] + product
    steps = torch.round(F.gelu(product, approximate="tanh") / t["y_scale"]) + t["y_zero"]
    return steps.clamp(-128, 127).to(torch.int8)


def operands(shape):
    torch.manual_seed(shape["rows"] + shape["columns"])
    rows, columns, inner, kind = (shape[key] for key in ("rows", "columns", "inner", "kind"))
    if kind.startswith("i8"):
        return bytes_and_scales(rows, columns, inner, kind)
    make = lambda *sizes: torch.randn(*sizes, device="cuda", dtype=torch.bfloat16)
    weight = lambda: make(columns, inner) / inner ** 0.5
    made = {"x": make(rows, inner)}
    made.update({"gate": weight(), "up": weight()} if kind == "gated" else {"w": weight()})
    if kind == "residual":
        made["h"] = torch.randn(rows, columns, device="cuda")
    return made


def reference(kind, t):
    if kind.startswith("i8"):
        return of_bytes(kind, t)
    if kind == "gated":
        return F.silu(t["x"] @ t["gate"].T) * (t["x"] @ t["up"].T)
    product = t["x"] @ t["w"].T
    return t["h"] + product.float() if kind == "residual" else product


def allowed(kind):
    """Bytes are exact but for gelu, of which few lie so near to a half that they round otherwise; bf16 is rounded."""
    return {"i8": 1e-6, "i8-residual": 1e-6, "i8-gelu": 2e-4}.get(kind, 1e-2)


def on_host(tensor):
    host = tensor.cpu()
    return host.numpy() if host.dtype != torch.bfloat16 else host.view(torch.int16).numpy().view(np.uint16)


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
            if "variants" in step:
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
        names = [v["kernel"].rsplit("_", 1)[1] for step in plan for v in step.get("variants", [])]
        variants = [None, *range(len(names))] if with_variants and flops < 3e12 else [None]
        tensors = operands(shape)
        wide = {name: tensors[name].bfloat16() for name in ("x", "w", "gate", "up") if name in tensors}
        other = timed(lambda: [wide["x"] @ w.T for name, w in wide.items() if name != "x"], 20)
        given = {name: on_host(value).ravel() for name, value in tensors.items()}
        wanted = reference(shape["kind"], tensors)
        del tensors, wide
        for variant in variants:
            try:
                own, wrong = run(bundle, shape, variant, given, wanted)
            except hew.HewError as problem:
                print(f"{shape['name']:16} {problem}", flush=True)
                passed = False
                continue
            passed &= wrong <= allowed(shape["kind"])
            name = shape["name"] if variant is None else f"  {names[variant]}"
            rates = [flops / ms / 1e9 for ms in (own, other)]
            note = "" if wrong <= allowed(shape["kind"]) else "  WRONG"
            print(f"{name:16} {wrong:8.1e} {own:8.4f} {rates[0]:8.1f} {other:8.4f} {rates[1]:8.1f} {other / own:6.2f}{note}", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(0 if main(pathlib.Path(sys.argv[1]), "--variants" in sys.argv) else 1)
