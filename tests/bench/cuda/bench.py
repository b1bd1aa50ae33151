"""Decoding speed of the bundles of bundles.ts beside PyTorch, in one process: python3 bench.py DIRECTORY

One token after 1024, or after 8192 (`long`), for one sequence and for several at one position, both sides as CUDA graphs; PyTorch by torch.compile,
bf16, static shapes. Bytes are those of the weights that a token reads, with their scales, and of its keys and values (`kv8`:
in 8 bits, with the scales of their rows).
Medians; the ratio is PyTorch's time for the same batch in bf16 over Hew's.
"""
import pathlib
import statistics
import sys

import numpy as np
import torch
import torch.nn.functional as F

import hew

LAYERS, WIDTH, FFN, HEADS, KV, HEAD, VOCABULARY, SHORT, LONG = 34, 4096, 12800, 32, 8, 128, 153376, 1024, 8192
SIZES = {"q": (WIDTH, WIDTH), "k": (KV * HEAD, WIDTH), "v": (KV * HEAD, WIDTH), "o": (WIDTH, WIDTH),
         "gate": (FFN, WIDTH), "up": (FFN, WIDTH), "down": (WIDTH, FFN)}
# Bits of a weight with its share of the scale: f32, one per output of i8 and per 128 inputs of i4.
BITS = {"bf16": lambda inner: 16, "i8": lambda inner: 8 + 32 / inner, "i4": lambda inner: 4 + 32 / 128}


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) / shape[-1] ** 0.5


def copy_bandwidth():
    source = torch.empty(2 ** 31, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    milliseconds = timed(lambda: target.copy_(source), 20)
    return 2 * source.nbytes / milliseconds * 1e3


def timed(run, repeats):
    for _ in range(3):
        run()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


def norm(x, gamma):
    return F.rms_norm(x, (WIDTH,), gamma, 1e-5)


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


@torch.compile(dynamic=False)
def layer(h, w, keys, values, cos, sin):
    batch, context = h.shape[0], keys.shape[2] - 1
    x = norm(h, w["first"])
    q = rotate((x @ w["q"].T).view(batch, HEADS, HEAD), cos, sin)
    k = rotate((x @ w["k"].T).view(batch, KV, HEAD), cos, sin)
    keys[:, :, context] = k
    values[:, :, context] = (x @ w["v"].T).view(batch, KV, HEAD)
    a = F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, enable_gqa=True)
    h = h + a.reshape(batch, WIDTH) @ w["o"].T
    x = norm(h, w["second"])
    return h + (F.silu(x @ w["gate"].T) * (x @ w["up"].T)) @ w["down"].T


def pytorch_weights():
    ones = torch.ones(WIDTH, device="cuda", dtype=torch.bfloat16)
    layers = [{**{name: random(*size) for name, size in SIZES.items()}, "first": ones, "second": ones} for _ in range(LAYERS)]
    return layers, random(VOCABULARY, WIDTH), ones


def pytorch_decode(weights, batch, context):
    layers, head, ones = weights
    caches = [(random(batch, KV, context + 1, HEAD), random(batch, KV, context + 1, HEAD)) for _ in range(LAYERS)]
    h = random(batch, WIDTH)
    cos, sin = random(HEAD // 2), random(HEAD // 2)

    def step():
        x = h
        for w, (keys, values) in zip(layers, caches):
            x = layer(x, w, keys, values, cos, sin)
        return norm(x, ones) @ head.T

    with torch.no_grad():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return timed(graph.replay, 30)


def hew_decode(bundle, batch, context):
    model = hew.Model(bundle, synthetic_seed=1)
    model.write_state("pos", np.array([context], np.int32))
    times = model.measure("decode", {"ids": np.full(batch, 5, np.int32)}, outputs=["logits"], repeats=30)
    model.close()
    return statistics.median(times)


def bytes_read(kind, batch, context, bytes_of_row):
    shapes = [*[size for size in SIZES.values() for _ in range(LAYERS)], (VOCABULARY, WIDTH)]
    weights = sum(out * inner * BITS[kind](inner) / 8 for out, inner in shapes)
    return weights + batch * LAYERS * 2 * context * KV * bytes_of_row


def main(directory, with_pytorch):
    rows = []
    for bundle in sorted(directory.iterdir()):
        kind, batch, *more = bundle.name.split("-")
        batch = int(batch) if batch.isdigit() else 1
        kind = kind if kind in BITS else "bf16"
        context = LONG if "long" in more else SHORT
        read = bytes_read(kind, batch, context, HEAD + 4 if "kv8" in more else 2 * HEAD)
        rows.append((bundle.name, (batch, context), read, hew_decode(bundle, batch, context)))
    copy = copy_bandwidth()
    torch.cuda.empty_cache()
    weights = pytorch_weights() if with_pytorch else None
    other = {shape: pytorch_decode(weights, *shape) for shape in sorted({row[1] for row in rows})} if with_pytorch else {}
    print(f"copy {copy / 1e12:.2f} TB/s")
    print(f"{'decode':18} {'ms':>8} {'GB':>6} {'TB/s':>6} {'of copy':>8} {'PyTorch':>8} {'ratio':>6}")
    for name, shape, read, ms in rows:
        rate = read / ms * 1e3
        beside = f"{other[shape]:8.3f} {other[shape] / ms:6.2f}" if shape in other else ""
        print(f"{name:18} {ms:8.3f} {read / 1e9:6.2f} {rate / 1e12:6.2f} {100 * rate / copy:6.1f} % {beside}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), "--alone" not in sys.argv)
