"""Prefill of the 7B-shaped Pangu of pangu-7b.json beside PyTorch, in one process: python3 bench_prefill.py BUNDLE

4096 tokens in an empty context, logits of the last alone; both sides as CUDA graphs, PyTorch by torch.compile, bf16, static
shapes. Medians; the ratio is PyTorch's time over Hew's.
"""
import statistics
import sys

import numpy as np
import torch
import torch.nn.functional as F

import hew
from bench import FFN, HEAD, HEADS, KV, LAYERS, SIZES, VOCABULARY, WIDTH, norm, random, rotate, timed

TOKENS = 4096


@torch.compile
def layer(h, w, keys, values, cos, sin):
    x = norm(h, w["first"])
    q = rotate((x @ w["q"].T).view(TOKENS, HEADS, HEAD).transpose(0, 1), cos, sin)
    k = rotate((x @ w["k"].T).view(TOKENS, KV, HEAD).transpose(0, 1), cos, sin)
    v = (x @ w["v"].T).view(TOKENS, KV, HEAD).transpose(0, 1)
    keys[:, :TOKENS] = k
    values[:, :TOKENS] = v
    a = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)[0]
    h = h + a.transpose(0, 1).reshape(TOKENS, WIDTH) @ w["o"].T
    x = norm(h, w["second"])
    return h + (F.silu(x @ w["gate"].T) * (x @ w["up"].T)) @ w["down"].T


def captured(step):
    """A CUDA graph of what `step` does."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def pytorch_prefill():
    ones = torch.ones(WIDTH, device="cuda", dtype=torch.bfloat16)
    weights = [{**{name: random(*size) for name, size in SIZES.items()}, "first": ones, "second": ones} for _ in range(LAYERS)]
    caches = [(random(KV, TOKENS + 256, HEAD), random(KV, TOKENS + 256, HEAD)) for _ in range(LAYERS)]
    table, head = random(VOCABULARY, WIDTH), random(VOCABULARY, WIDTH)
    ids = torch.randint(VOCABULARY, (TOKENS,), device="cuda")
    cos, sin = random(TOKENS, HEAD // 2), random(TOKENS, HEAD // 2)

    def step():
        h = table[ids]
        for w, (keys, values) in zip(weights, caches):
            h = layer(h, w, keys, values, cos, sin)
        return norm(h[-1:], ones) @ head.T

    with torch.no_grad():
        return timed(captured(step).replay, 10)


def hew_prefill(bundle):
    model = hew.Model(bundle, synthetic_seed=1)
    ids = np.random.default_rng(1).integers(0, VOCABULARY, TOKENS).astype(np.int32)
    times = model.measure("prefill", {"ids": ids}, {"T": TOKENS}, ["last"], repeats=10)
    model.close()
    return statistics.median(times)


def main(bundle):
    own = hew_prefill(bundle)
    other = pytorch_prefill()
    products = LAYERS * sum(a * b for a, b in SIZES.values()) * 2 * TOKENS + 2 * VOCABULARY * WIDTH
    operations = products + LAYERS * 2 * HEADS * HEAD * TOKENS * TOKENS
    for name, ms in (("Hew", own), ("PyTorch", other)):
        print(f"prefill of {TOKENS} tokens, {name:10} {ms:.2f} ms  {operations / ms / 1e9:.0f} TFLOP/s")
    print(f"ratio {other / own:.2f}")


if __name__ == "__main__":
    main(sys.argv[1])
