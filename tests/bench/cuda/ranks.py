"""A tensor-parallel model against the same model on one GPU: the same tokens, and the time of a decoded token.

    python3 ranks.py RANKS SPLIT [WHOLE]   # bundles made with and without --tensor-parallel
    python3 ranks.py RANKS SPLIT WHOLE --synthetic CONTEXT
"""
import json
import os
import subprocess
import sys

import numpy as np

PROMPT = [0, 17, 42, 7, 99, 3, 250, 11]
TOKENS = 48


def work(directory, context):
    from hew import Model

    model = Model(directory, synthetic_seed=1 if context else None)
    tokens = [] if context else [int(t) for t in model.generate(np.array(PROMPT, np.int32), TOKENS)]
    if context:
        model.write_state("pos", np.array([context], np.int32))
    ids = np.array([5], np.int32)
    times = model.measure("decode", {"ids": ids}, {}, ["logits"], 50 if context else 10)
    return {"tokens": tokens, "ms": float(np.median(times))}


def launch(count, directory, context):
    """The result of every rank."""
    started = []
    for rank in range(count):
        environment = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank))
        command = [sys.executable, __file__, "worker", directory, str(context)]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    results = []
    for process in started:
        text, _ = process.communicate(timeout=300)
        if process.returncode != 0:
            raise SystemExit(f"a rank of {directory} failed")
        results.append(json.loads(text.strip().splitlines()[-1]))
    return results


def main(arguments):
    count, split, whole = int(arguments[0]), arguments[1], arguments[2]
    context = int(arguments[4]) if len(arguments) > 4 and arguments[3] == "--synthetic" else 0
    [alone] = launch(1, whole, context)
    ranks = launch(count, split, context)
    slowest = max(rank["ms"] for rank in ranks)
    agree = all(rank["tokens"] == alone["tokens"] for rank in ranks)
    said = "" if context else f"tokens {'agree' if agree else 'DIFFER'} ({len(alone['tokens'])}); "
    print(f"{split}: {said}decode {alone['ms']:.3f} ms on one GPU, {slowest:.3f} ms on {count}: {alone['ms'] / slowest:.2f}x", flush=True)
    return agree


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        print(json.dumps(work(sys.argv[2], int(sys.argv[3]))), flush=True)
    else:
        sys.exit(0 if main(sys.argv[1:]) else 1)
