"""A tensor-parallel model against the same model on one GPU: the same tokens, and the time of a decoded token.

    python3 ranks.py RANKS WHOLE SPLIT.. --synthetic CONTEXT   # bundles made without and with --tensor-parallel
    python3 ranks.py RANKS WHOLE SPLIT.. --golden FILE         # whose greedy tokens all have to give
    python3 ranks.py RANKS DIRECTORY                           # what all.ts writes: both of the above
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np


def work(directory, context, golden):
    from hew import Model

    model = Model(directory, synthetic_seed=1 if context else None)
    agree, most = 0, 0
    if golden:
        from safetensors.numpy import load_file

        wanted = load_file(golden)
        greedy = wanted["greedy"].astype(np.int32).ravel()
        tokens = model.generate(wanted["prompt"].astype(np.int32).ravel(), len(greedy))
        agree, most = int(np.argmin(np.append(tokens == greedy[:len(tokens)], False))), len(greedy)
        model.reset()
    else:
        model.write_state("pos", np.array([context], np.int32))
    times = model.measure("decode", {"ids": np.array([5], np.int32)}, {}, ["logits"], 50)
    return {"agree": agree, "most": most, "ms": float(np.median(times))}


def launch(count, directory, context, golden):
    """The result of every rank."""
    started = []
    for rank in range(count):
        environment = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank))
        command = [sys.executable, __file__, "worker", directory, str(context), golden]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    results = []
    for process in started:
        text, _ = process.communicate(timeout=300)
        if process.returncode != 0:
            raise SystemExit(f"a rank of {directory} failed")
        results.append(json.loads(text.strip().splitlines()[-1]))
    return results


def compare(count, whole, splits, context=0, golden=""):
    """Whether all gave the golden tokens; prints the times."""
    [alone] = launch(1, whole, context, golden)
    said = lambda results: f", {min(r['agree'] for r in results)} of {results[0]['most']} golden tokens" if golden else ""
    print(f"{whole}: decode {alone['ms']:.3f} ms on one GPU{said([alone])}", flush=True)
    passed = alone["agree"] == alone["most"]
    for split in splits:
        ranks = launch(count, split, context, golden)
        slowest = max(rank["ms"] for rank in ranks)
        print(f"{split}: decode {slowest:.3f} ms on {count}, {alone['ms'] / slowest:.2f} times as fast{said(ranks)}", flush=True)
        passed &= all(rank["agree"] == rank["most"] for rank in ranks)
    return passed


def everything(count, directory):
    passed = True
    for golden in sorted(directory.glob("*.golden.safetensors")):
        name = golden.name.removesuffix(".golden.safetensors")
        passed &= compare(count, str(directory / name), [str(directory / f"{name}-split")], golden=str(golden))
    large = [str(directory / name) for name in ("large-split", "large-split-whole-head", "large-split")]
    return compare(count, str(directory / "large"), large, context=1024) and passed


def main(arguments):
    count, whole, splits = int(arguments[0]), arguments[1], arguments[2:]
    if not splits:
        return everything(count, pathlib.Path(whole))
    *splits, kind, value = splits
    return compare(count, whole, splits, **({"context": int(value)} if kind == "--synthetic" else {"golden": value}))


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        print(json.dumps(work(sys.argv[2], int(sys.argv[3]), sys.argv[4])), flush=True)
    else:
        sys.exit(0 if main(sys.argv[1:]) else 1)
