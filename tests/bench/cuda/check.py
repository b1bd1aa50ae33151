"""Checks CUDA bundles on a GPU: golden outputs of the example models, and the conformance cases of cases.ts.

    python3 check.py goldens DIRECTORY     # DIRECTORY/<model>-<dtype> bundles, DIRECTORY/<model>.golden.safetensors
    python3 check.py cases DIRECTORY [I/N] # written by cases.ts, its sources compiled to cases-<n>.cubin; or the I-th of N parts
    python3 check.py sampling BUNDLE       # tokens that a language model draws, against the same draws here
"""
import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file

import hew

USUAL = {"f32": (2e-6, 1e-5), "f16": (1e-3, 2e-3), "bf16": (8e-3, 1.6e-2)}
# Relative error of a whole tensor, for 16-bit compute.
NARROW = {"bf16": 1e-2, "f16": 2e-3}


def as_floats(dtype, values):
    return hew.bf16_to_f32(values) if dtype == "bf16" else values


def disagreement(case, slot, wanted, actual):
    wanted, actual = (as_floats(slot["dtype"], v).astype(np.float64) for v in (wanted, actual))
    same = (wanted == actual) | (np.isnan(wanted) & np.isnan(actual))
    if case["compute"] != "f32" and slot["dtype"] in USUAL:
        finite = np.isfinite(wanted)
        if not np.array_equal(np.isfinite(actual), finite):
            return "not finite"
        error = np.linalg.norm((wanted - actual)[finite]) / max(np.linalg.norm(wanted[finite]), 1e-6)
        return None if error <= NARROW[case["compute"]] or same.all() else f"relative error {error:.2e}"
    own = case["tolerance"].get(slot["dtype"])
    absolute, relative = (own["absolute"], own["relative"]) if own else USUAL.get(slot["dtype"], (0, 0))
    with np.errstate(invalid="ignore"):
        close = same | (np.abs(wanted - actual) <= absolute + relative * np.abs(wanted))
    close &= ~np.isinf(wanted) | same
    if close.all():
        return None
    at = int(np.argmin(close))
    return f"[{at}] is {actual[at]}, not {wanted[at]} ({(~close).sum()} of {close.size})"


def launches(plan):
    for step in plan:
        yield step
        yield from launches(step.get("body", []))


def only_variant(manifest, variant):
    """The manifest with one way to run each launch that has variants, behind the last without any; None where there are no more."""
    chosen = json.loads(json.dumps(manifest))
    steps = [step for entry in chosen["entries"].values() for step in launches(entry["plan"]) if step.get("variants")]
    if variant > max((len(step["variants"]) for step in steps), default=-1):
        return None
    for step in steps:
        step["variants"] = [dict(own, least=0) for own in step["variants"][variant:variant + 1]]
    return chosen


def run_ways(directory, number, case, data):
    """A case as the runtime chooses to run it, and in every other way that its launches have; how often it ran, and the problem."""
    path = directory / "cases" / str(number) / "manifest.json"
    manifest = json.loads(path.read_text())
    problem, ran = run_case(directory, number, case, data), 1
    try:
        while problem is None and (chosen := only_variant(manifest, ran - 1)) is not None:
            path.write_text(json.dumps(chosen))
            problem = run_case(directory, number, case, data)
            ran += 1
    finally:
        path.write_text(json.dumps(manifest))
    return problem if problem is None or ran == 1 else f"variant {ran - 2}: {problem}", ran


def run_case(directory, number, case, data):
    model = hew.Model(directory / "cases" / str(number), graphs=number % 2 == 0)
    try:
        for call in case["calls"]:
            read = lambda t: np.frombuffer(data, hew._DTYPES[t["dtype"]], count=t["bytes"] // np.dtype(hew._DTYPES[t["dtype"]]).itemsize, offset=t["offset"])
            outputs = model.step(call["entry"], {n: read(t) for n, t in call["inputs"].items()}, call["symbols"])
            for name, slot in call["wanted"].items():
                wanted = read(slot)
                if wanted.size != outputs[name].size:
                    return f"{name} has {outputs[name].size} elements, not {wanted.size}"
                problem = disagreement(case, slot, wanted, outputs[name])
                if problem:
                    return f"{name}{problem}"
    finally:
        model.close()
    return None


def cases(directory):
    index = json.loads((directory / "cases.json").read_text())
    data = (directory / "cases.bin").read_bytes()
    part, parts = (int(n) for n in sys.argv[3].split("/")) if len(sys.argv) > 3 else (0, 1)
    failures = []
    ran, runs = 0, 0
    kept = None
    for number, case in enumerate(index):
        if number % parts != part:
            continue
        own = directory / "cases" / str(number)
        code = directory / f"cases-{case['source']}.cubin"
        manifest = json.loads((own / "manifest.json").read_text())
        manifest["files"].update({"kernels.cubin": {"bytes": code.stat().st_size}, "kernels.cu": {"bytes": 0}})
        (own / "manifest.json").write_text(json.dumps(manifest))
        if not (own / "kernels.cubin").exists():
            (own / "kernels.cubin").symlink_to(code.resolve())
        # One model stays open, so that the context of the GPU is not made anew for every case.
        kept = kept or hew.Model(own)
        try:
            problem, times = run_ways(directory, number, case, data)
        except hew.HewError as error:
            problem, times = str(error), 1
        ran, runs = ran + 1, runs + times
        if problem:
            failures.append(case["name"])
            print(f"FAIL {case['name']}: {problem}", flush=True)
    print(f"conformance: {ran - len(failures)} of {ran} cases agree ({runs} runs)")
    return not failures


def relative(wanted, actual):
    return float(np.linalg.norm(wanted.astype(np.float64) - actual) / np.linalg.norm(wanted.astype(np.float64)))


def prompt_logits(model, ids):
    most = model.manifest["symbols"]["T"]["max"]
    model.reset()
    rows = []
    for start in range(0, len(ids), most):
        piece = np.ascontiguousarray(ids[start:start + most], np.int32)
        rows.append(model.step("prefill", {"ids": piece}, {"T": len(piece)}, ["logits"])["logits"])
    return np.concatenate(rows)


def likelihood(model, ids):
    """Mean negative log-likelihood of each token behind those before it."""
    ids = ids.astype(np.int64).ravel()
    logits = prompt_logits(model, ids[:-1]).reshape(len(ids) - 1, -1).astype(np.float64)
    highest = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(1)) + highest[:, 0]
    return float(np.mean(total - logits[np.arange(len(ids) - 1), ids[1:]]))


def language_model(model, golden, dtype, rounds):
    prompt = golden["prompt"].astype(np.int32).ravel()
    logits = prompt_logits(model, prompt)
    wanted = golden["logits"].astype(np.float32).ravel()
    error, largest = relative(wanted, logits), float(np.abs(wanted - logits).max())
    greedy = golden["greedy"].astype(np.int32).ravel()
    tokens = model.generate(prompt, len(greedy))
    agree = int(np.argmin(np.append(tokens == greedy[:len(tokens)], False)))
    model.reset()
    decoded = [model.step("decode", {"ids": prompt[i:i + 1]})["logits"] for i in range(min(len(prompt), 24))]
    first = wanted.reshape(len(prompt), -1)[:len(decoded)].ravel()
    decode_error = relative(first, np.concatenate(decoded))
    nll = float(np.mean([likelihood(model, ids) for ids in golden["eval_tokens"]])) if "eval_tokens" in golden else 0.0
    own = float(golden["eval_nll"].mean()) if "eval_nll" in golden else 0.0
    # Where caches are rounded to 8 bits, a number that is almost halfway may go the other way, in any arithmetic.
    exact = error <= 2e-3 if rounds else largest <= 2e-3
    passed = error <= 1e-2 and decode_error <= 1e-2 if dtype != "f32" else exact and agree == len(greedy)
    print(f"  logits: relative error {error:.2e}, largest difference {largest:.2e}; decode {decode_error:.2e}; greedy {agree} of {len(greedy)}")
    print(f"  nll {nll:.6f}, of the floats {own:.6f}, difference {nll - own:+.6f}")
    return passed and abs(nll - own) <= 2e-3


def diffusion_model(model, golden, dtype):
    x, t, y = (golden[name] for name in ("x", "t", "y"))
    most = model.manifest["symbols"]["B"]["max"]
    eps = []
    for start in range(0, len(t), most):
        piece = slice(start, start + most)
        inputs = {"x": x[piece].astype(np.float32), "t": t[piece].astype(np.int32), "y": y[piece].astype(np.int32)}
        eps.append(model.step("denoise", inputs, {"B": len(inputs["t"])}, ["eps"])["eps"])
    wanted, actual = golden["eps"].astype(np.float32).ravel(), np.concatenate(eps)
    error, largest = relative(wanted, actual), float(np.abs(wanted - actual).max())
    print(f"  eps: relative error {error:.2e}, largest difference {largest:.2e}")
    return error <= 1e-2 if dtype != "f32" else largest <= 1e-3


def goldens(directory):
    passed = True
    for path in sorted(directory.glob("*.golden.safetensors")):
        name = path.name.removesuffix(".golden.safetensors")
        golden = load_file(path)
        for dtype in ("f32", "bf16"):
            model = hew.Model(directory / f"{name}-{dtype}")
            print(f"{name} {dtype}")
            own = language_model(model, golden, dtype, "-kv8" in name) if "prompt" in golden else diffusion_model(model, golden, dtype)
            model.close()
            print("  pass" if own else "  FAIL")
            passed &= own
    return passed


SETTINGS = [(1.0, 0, 1.0), (0.7, 40, 1.0), (1.0, 0, 0.9), (1.3, 50, 0.8), (0.5, 3, 0.5), (1.0, 1, 1.0), (2.0, 0, 0.999), (1.0, 0, 1e-6)]


def first_random(seed):
    """SplitMix64, as the runtime's generator begins."""
    mask = (1 << 64) - 1
    z = (seed + 0x9E3779B97F4A7C15) & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return ((z ^ (z >> 31)) >> 11) / 2**53


def drawn(logits, temperature, top_k, top_p, random):
    order = np.argsort(-logits, kind="stable")[: top_k or logits.size]
    weights = np.exp((logits[order].astype(np.float64) - logits.max()) / temperature)
    sums = np.cumsum(weights)
    kept = int(np.searchsorted(sums, top_p * sums[-1])) + 1 if top_p < 1 else len(order)
    kept = min(kept, len(order))
    return int(order[min(int(np.searchsorted(sums[:kept], random * sums[kept - 1], side="right")), kept - 1)])


def sampling(bundle):
    """A draw may differ where the random number falls on the border of two tokens: fixed-point weights end at 2^-40."""
    model = hew.Model(bundle)
    prompt = np.arange(1, 20, dtype=np.int32)
    logits = prompt_logits(model, prompt)[-model.manifest["entries"]["decode"]["outputs"][0]["shape"][-1]:]
    failures = 0
    for temperature, top_k, top_p in SETTINGS:
        tokens = [int(model.generate(prompt, 1, temperature, top_k, top_p, seed)[0]) for seed in range(300)]
        wanted = [drawn(logits, temperature, top_k, top_p, first_random(seed)) for seed in range(300)]
        agree = sum(a == b for a, b in zip(tokens, wanted))
        failures += agree < 299
        print(f"temperature {temperature}, top_k {top_k}, top_p {top_p}: {agree} of 300 draws agree, {len(set(wanted))} tokens")
    model.close()
    print("pass" if failures == 0 else "FAIL")
    return failures == 0


if __name__ == "__main__":
    check = {"goldens": goldens, "cases": cases, "sampling": sampling}[sys.argv[1]]
    sys.exit(0 if check(pathlib.Path(sys.argv[2])) else 1)
