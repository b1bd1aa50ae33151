"""A tensor-parallel model against the same model on one GPU: the same tokens, and the time of a decoded token.

    python3 ranks.py RANKS WHOLE SPLIT.. --synthetic CONTEXT   # bundles made without and with --tensor-parallel
    python3 ranks.py RANKS WHOLE SPLIT.. --tokens COUNT        # bundles with weights: greedy tokens of several prompts, and their logits
    python3 ranks.py RANKS WHOLE SPLIT.. --golden FILE         # whose greedy tokens all have to give
    python3 ranks.py RANKS DIRECTORY                           # what all.ts writes: the first and the last of the above
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

CONTEXT = 1024
PROMPTS = [1, 7, 64, 201, 1000]
# Of the logits that ranks and one GPU are compared by.
EVERY = 97


def prompts(model):
    """Of several lengths, the same in every process."""
    [logits] = model.manifest["entries"]["decode"]["outputs"]
    random = np.random.default_rng(1)
    return [random.integers(0, logits["shape"][-1], length).astype(np.int32) for length in PROMPTS]


def fed(model, prompt, tokens):
    """Logits behind the prompt and each of the tokens: the best, how far the second is behind it, and some of all."""
    model.generate(prompt, 1)
    rows = [model.step("decode", {"ids": np.array([token], np.int32)})["logits"] for token in tokens]
    best = [np.partition(row, -2)[-2:] for row in rows]
    return [int(np.argmax(row)) for row in rows], [float(high - low) for low, high in best], [row[::EVERY].tolist() for row in rows]


def work(directory, kind, value, forced):
    from hew import Model

    model = Model(directory, synthetic_seed=1 if kind == "synthetic" else None)
    result = {}
    if kind == "golden":
        from safetensors.numpy import load_file

        wanted = load_file(value)
        result["tokens"] = [model.generate(wanted["prompt"].astype(np.int32).ravel(), wanted["greedy"].size).tolist()]
        model.reset()
    else:
        if kind == "tokens":
            asked = prompts(model)
            result["tokens"] = [model.generate(prompt, int(value)).tolist() for prompt in asked]
            feeds = [fed(model, prompt, tokens) for prompt, tokens in zip(asked, forced or result["tokens"])]
            result["choices"], result["gaps"], result["logits"] = zip(*feeds)
        model.write_state("pos", np.array([CONTEXT if kind == "tokens" else int(value)], np.int32))
    times = model.measure("decode", {"ids": np.array([5], np.int32)}, {}, ["logits"], 50)
    return dict(result, ms=float(np.median(times)))


def launch(count, directory, kind, value, forced=None):
    """The result of every rank."""
    started = []
    for rank in range(count):
        environment = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank))
        command = [sys.executable, __file__, "worker", directory, kind, value, json.dumps(forced)]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    results = []
    for process in started:
        text, _ = process.communicate(timeout=300)
        if process.returncode != 0:
            raise SystemExit(f"a rank of {directory} failed")
        results.append(json.loads(text.strip().splitlines()[-1]))
    return results


def agreeing(results, wanted):
    """How many tokens all ranks give as wanted, up to the first of each prompt that one does not, and how many there are."""
    def until(own, other):
        same = [a == b for a, b in zip(own, other)]
        return same.index(False) if False in same else len(same)

    return min(sum(map(until, result["tokens"], wanted)) for result in results), sum(map(len, wanted))


def beside(alone, rank):
    """What a rank makes of the tokens of one GPU: prints how far its logits are, and where another token is the best."""
    flat = lambda result, name: np.concatenate([np.array(own) for own in result[name]])
    ours, theirs = flat(alone, "logits"), flat(rank, "logits")
    error = np.linalg.norm(theirs - ours, axis=1) / np.linalg.norm(ours, axis=1)
    other, gaps = flat(alone, "choices") != flat(rank, "choices"), flat(alone, "gaps") / ours.std(axis=1)
    print(f"  fed the tokens of one GPU: logits within {error.max():.1e}, {np.sum(~other)} of {other.size} choices the same", end="")
    print(f"; in the others the second is within {gaps[other].max():.1e} deviations of the best" if other.any() else "", flush=True)


def compare(count, whole, splits, kind, value):
    """Whether all gave the same tokens; prints the times."""
    [alone] = launch(1, whole, kind, value)
    wanted, passed, said = alone.get("tokens"), True, ""
    if kind == "golden":
        from safetensors.numpy import load_file

        wanted = [load_file(value)["greedy"].ravel().tolist()]
        agree, most = agreeing([alone], wanted)
        passed, said = agree == most, f", {agree} of {most} golden tokens"
    elif kind == "tokens":
        said = ", different tokens of each prompt: " + ", ".join(f"{len(set(own))} of {len(own)}" for own in wanted)
    print(f"{whole}: decode {alone['ms']:.3f} ms on one GPU{said}", flush=True)
    for split in splits:
        ranks = launch(count, split, kind, value, wanted if kind == "tokens" else None)
        slowest = max(rank["ms"] for rank in ranks)
        agree, most = agreeing(ranks, wanted) if wanted else (0, 0)
        said = f", {agree} of {most} tokens the same" if wanted else ""
        print(f"{split}: decode {slowest:.3f} ms on {count}, {alone['ms'] / slowest:.2f} times as fast{said}", flush=True)
        if kind == "tokens":
            beside(alone, ranks[0])
        passed &= agree == most
    return passed


def everything(count, directory):
    passed = True
    for golden in sorted(directory.glob("*.golden.safetensors")):
        name = golden.name.removesuffix(".golden.safetensors")
        passed &= compare(count, str(directory / name), [str(directory / f"{name}-split")], "golden", str(golden))
    large = [str(directory / name) for name in ("large-split", "large-split-whole-head", "large-split")]
    return compare(count, str(directory / "large"), large, "synthetic", str(CONTEXT)) and passed


def main(arguments):
    count, whole, *splits = arguments
    if not splits:
        return everything(int(count), pathlib.Path(whole))
    *splits, kind, value = splits
    return compare(int(count), whole, splits, kind.removeprefix("--"), value)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        print(json.dumps(work(*sys.argv[2:5], json.loads(sys.argv[5]))), flush=True)
    else:
        sys.exit(0 if main(sys.argv[1:]) else 1)
