"""One step of DiT-XL/2 beside PyTorch, in one process: python3 bench_dit.py BUNDLE [QUANTIZED_BUNDLE]

256 tokens, 28 blocks, width 1152; batches of 2, 16 and 64; both sides as CUDA graphs, PyTorch by torch.compile, bf16,
static shapes. Medians; the ratio is PyTorch's time over Hew's. Weights are made up.
"""
import statistics
import sys

import numpy as np
import torch
import torch.nn.functional as F

import hew
from bench import random, timed
from bench_prefill import captured

DEPTH, WIDTH, HEADS, TOKENS, CLASSES = 28, 1152, 16, 256, 1000
BATCHES = (2, 16, 64)
SIZES = {"ada": (6 * WIDTH, WIDTH), "qkv": (3 * WIDTH, WIDTH), "proj": (WIDTH, WIDTH), "fc1": (4 * WIDTH, WIDTH), "fc2": (WIDTH, 4 * WIDTH)}


def linear(x, layer):
    return F.linear(x, *layer)


def normed(x, shift, scale):
    return F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + scale) + shift


@torch.compile
def block(h, c, w):
    m = linear(F.silu(c), w["ada"]).view(-1, 6, 1, WIDTH)
    qkv = linear(normed(h, m[:, 0], m[:, 1]), w["qkv"]).view(-1, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
    a = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
    h = h + m[:, 2] * linear(a.transpose(1, 2).reshape(h.shape), w["proj"])
    y = F.gelu(linear(normed(h, m[:, 3], m[:, 4]), w["fc1"]), approximate="tanh")
    return h + m[:, 5] * linear(y, w["fc2"])


@torch.compile
def first(x, t, y, w):
    patches = F.conv2d(x, w["patch"], w["patch_bias"], stride=2).flatten(2).transpose(1, 2)
    angle = t[:, None].float() * w["frequencies"]
    features = torch.cat([angle.cos(), angle.sin()], 1).bfloat16()
    c = linear(F.silu(linear(features, w["time0"])), w["time1"]) + w["classes"][y]
    return patches + w["positions"], c


@torch.compile
def last(h, c, w):
    m = linear(F.silu(c), w["final_ada"]).view(-1, 2, 1, WIDTH)
    values = linear(normed(h, m[:, 0], m[:, 1]), w["final"]).view(-1, 16, 16, 2, 2, 8)
    return values.permute(0, 5, 1, 3, 2, 4).reshape(-1, 8, 32, 32)[:, :4].float()


def pytorch_step(batch):
    pair = lambda *size: (random(*size), random(size[0]))
    blocks = [{name: pair(*size) for name, size in SIZES.items()} for _ in range(DEPTH)]
    w = {"patch": random(WIDTH, 4, 2, 2), "patch_bias": random(WIDTH), "time0": pair(WIDTH, 256), "time1": pair(WIDTH, WIDTH),
         "classes": random(CLASSES + 1, WIDTH), "positions": random(TOKENS, WIDTH), "final_ada": pair(2 * WIDTH, WIDTH),
         "final": pair(32, WIDTH), "frequencies": torch.rand(128, device="cuda")}
    x = torch.randn(batch, 4, 32, 32, device="cuda", dtype=torch.bfloat16)
    t, y = (torch.randint(most, (batch,), device="cuda") for most in (1000, CLASSES))

    def step():
        h, c = first(x, t, y, w)
        for own in blocks:
            h = block(h, c, own)
        return last(h, c, w)

    with torch.no_grad():
        return timed(captured(step).replay, 20)


def hew_steps(bundle):
    model = hew.Model(bundle, synthetic_seed=1)
    generator = np.random.default_rng(1)
    times = []
    for batch in BATCHES:
        inputs = {"x": generator.standard_normal((batch, 4, 32, 32), np.float32).ravel(),
                  "t": generator.integers(0, 1000, batch).astype(np.int32), "y": generator.integers(0, CLASSES, batch).astype(np.int32)}
        eps = model.step("denoise", inputs, {"B": batch})["eps"]
        if not np.isfinite(eps).all():
            raise SystemExit(f"{bundle}: the step of batch {batch} is not finite")
        times.append(statistics.median(model.measure("denoise", inputs, {"B": batch}, ["eps"], repeats=20)))
    model.close()
    return times


def main(bundles):
    own = [hew_steps(bundle) for bundle in bundles]
    torch._dynamo.config.automatic_dynamic_shapes = False
    operations = 2 * TOKENS * DEPTH * (12 * WIDTH * WIDTH + 2 * TOKENS * WIDTH)
    for i, batch in enumerate(BATCHES):
        other = pytorch_step(batch)
        for name, ms in [("PyTorch bf16", other), *((str(bundle), times[i]) for bundle, times in zip(bundles, own))]:
            print(f"batch {batch:3}  {name:28} {ms:7.3f} ms  {batch * operations / ms / 1e9:5.0f} TOP/s  ratio {other / ms:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
