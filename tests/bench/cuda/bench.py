"""Speed of the 7B-shaped Pangu of pangu-7b.json beside PyTorch, in one process: python3 bench.py BUNDLE

Decode of one token after 1024, both sides as CUDA graphs; PyTorch by torch.compile, bf16, static shapes. Bytes are those
of the weights that one token reads and of its keys and values. Medians; the ratio is PyTorch's time over Hew's.
"""
import statistics
import sys

import numpy as np
import torch
import torch.nn.functional as F

import hew

LAYERS, WIDTH, FFN, HEADS, KV, HEAD, VOCABULARY, CONTEXT = 34, 4096, 12800, 32, 8, 128, 153376, 1024
SIZES = {"q": (WIDTH, WIDTH), "k": (KV * HEAD, WIDTH), "v": (KV * HEAD, WIDTH), "o": (WIDTH, WIDTH),
         "gate": (FFN, WIDTH), "up": (FFN, WIDTH), "down": (WIDTH, FFN)}


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


@torch.compile
def layer(h, w, keys, values, cos, sin):
    x = norm(h, w["first"])
    q = rotate((x @ w["q"].T).view(1, HEADS, HEAD), cos, sin)
    k = rotate((x @ w["k"].T).view(1, KV, HEAD), cos, sin)
    keys[:, :, CONTEXT] = k
    values[:, :, CONTEXT] = (x @ w["v"].T).view(1, KV, HEAD)
    a = F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, enable_gqa=True)
    h = h + a.reshape(1, WIDTH) @ w["o"].T
    x = norm(h, w["second"])
    return h + (F.silu(x @ w["gate"].T) * (x @ w["up"].T)) @ w["down"].T


def pytorch_decode():
    ones = torch.ones(WIDTH, device="cuda", dtype=torch.bfloat16)
    weights = [{**{name: random(*size) for name, size in SIZES.items()}, "first": ones, "second": ones} for _ in range(LAYERS)]
    caches = [(random(1, KV, CONTEXT + 1, HEAD), random(1, KV, CONTEXT + 1, HEAD)) for _ in range(LAYERS)]
    head, h = random(VOCABULARY, WIDTH), random(1, WIDTH)
    cos, sin = random(HEAD // 2), random(HEAD // 2)

    def step():
        x = h
        for w, (keys, values) in zip(weights, caches):
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


def hew_decode(bundle):
    model = hew.Model(bundle, synthetic_seed=1)
    model.write_state("pos", np.array([CONTEXT], np.int32))
    times = model.measure("decode", {"ids": np.array([5], np.int32)}, outputs=["logits"], repeats=30)
    model.close()
    return statistics.median(times)


def main(bundle):
    own = hew_decode(bundle)
    copy = copy_bandwidth()
    torch.cuda.empty_cache()
    other = pytorch_decode()
    elements = LAYERS * sum(a * b for a, b in SIZES.values()) + VOCABULARY * WIDTH
    size = 2 * (elements + LAYERS * 2 * CONTEXT * KV * HEAD)
    print(f"copy              {copy / 1e12:.2f} TB/s")
    for name, ms in (("Hew", own), ("PyTorch", other)):
        rate = size / ms * 1e3
        print(f"decode {name:10} {ms:.3f} ms  {rate / 1e12:.2f} TB/s  {100 * rate / copy:.0f} % of copy")
    print(f"ratio             {other / own:.2f}")


if __name__ == "__main__":
    main(sys.argv[1])
