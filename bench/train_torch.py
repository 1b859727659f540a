#!/usr/bin/env python3
"""The work of bench/train.c in PyTorch: a decoder of the same shape with LoRA on all linear layers, written as its users would.

    python3 bench/train_torch.py SHAPE VARIANT SAMPLES        one line of JSON

VARIANT  usual   rows padded to a multiple of 64, logits at every token (the default of common trainers; nothing is recomputed)
         best    rows as long as they are, logits at the answer alone, nothing recomputed
         plain   contexts of 128 tokens, every token a target

One warm-up step on a micro-batch, then one measured step of SAMPLES samples, forward, backward and AdamW. Float32, all cores, settings
as installed. TRAIN_LAYERS as for bench/train.c.
"""
import json
import math
import os
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

PREFIX, RECORD, ANSWER, RANK = 150, 100, 4, 16
SHAPES = {  # layers, width, heads, key-value heads, head width, feed-forward, vocabulary, tied head, norms of heads, theta
    "TinyLlama-1.1B": (22, 2048, 32, 4, 64, 5632, 32000, False, False, 1e4),
    "Qwen3-0.6B": (28, 1024, 16, 8, 128, 3072, 151936, True, True, 1e6),
}


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width), requires_grad=False)

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Lora(nn.Module):
    """A frozen linear layer with a low-rank adapter."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in).uniform_(-1, 1).mul_(1.7 / math.sqrt(n_in)), requires_grad=False)
        self.a = nn.Parameter(torch.empty(RANK, n_in).uniform_(-1, 1) / math.sqrt(n_in))
        self.b = nn.Parameter(torch.zeros(n_out, RANK))

    def forward(self, x):
        return F.linear(x, self.weight) + F.linear(F.linear(x, self.a), self.b) * 2


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Block(nn.Module):
    def __init__(self, d, heads, kv, e, f, qk_norm):
        super().__init__()
        self.heads, self.kv, self.e = heads, kv, e
        self.q, self.k, self.v = Lora(d, heads * e), Lora(d, kv * e), Lora(d, kv * e)
        self.o, self.gate, self.up, self.down = Lora(heads * e, d), Lora(d, f), Lora(d, f), Lora(f, d)
        self.norm1, self.norm2 = Norm(d), Norm(d)
        self.q_norm, self.k_norm = (Norm(e), Norm(e)) if qk_norm else (nn.Identity(), nn.Identity())

    def forward(self, x, cos, sin, mask):
        b, t, _ = x.shape
        h = self.norm1(x)
        q = self.q_norm(self.q(h).view(b, t, self.heads, self.e)).transpose(1, 2)
        k = self.k_norm(self.k(h).view(b, t, self.kv, self.e)).transpose(1, 2)
        v = self.v(h).view(b, t, self.kv, self.e).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = self.heads // self.kv
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if hasattr(F, "scaled_dot_product_attention"):
            att = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            att = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(self.e) + mask, -1) @ v
        x = x + self.o(att.transpose(1, 2).reshape(b, t, -1))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        layers, d, heads, kv, e, f, vocab, tied, qk_norm, self.theta = shape
        layers = int(os.environ.get("TRAIN_LAYERS") or layers)
        self.e = e
        self.embed = nn.Parameter(torch.empty(vocab, d).uniform_(-1, 1).mul_(1.7 / math.sqrt(d)), requires_grad=False)
        self.head = self.embed if tied else nn.Parameter(torch.empty(vocab, d).uniform_(-1, 1).mul_(1.7 / math.sqrt(d)), requires_grad=False)
        self.blocks = nn.ModuleList(Block(d, heads, kv, e, f, qk_norm) for _ in range(layers))
        self.norm = Norm(d)

    def forward(self, ids):
        t = ids.shape[1]
        angle = torch.arange(t)[:, None] * self.theta ** (-torch.arange(0, self.e, 2) / self.e)[None]
        cos, sin = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()
        mask = torch.full((t, t), float("-inf")).triu(1)
        x = F.embedding(ids, self.embed)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return self.norm(x)


def loss_of(model, variant, n):
    vocab = model.head.shape[0]
    if variant == "plain":
        ids = torch.randint(vocab, (n, 129))
        hidden = model(ids[:, :-1])
        return F.cross_entropy(F.linear(hidden, model.head).flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    length = PREFIX + RECORD + ANSWER
    ids = torch.randint(vocab, (n, length))
    if variant == "best":
        hidden = model(ids[:, :-1])[:, PREFIX + RECORD - 1:]
        return F.cross_entropy(F.linear(hidden, model.head).flatten(0, 1), ids[:, PREFIX + RECORD:].flatten(), reduction="sum")
    padded = (length + 63) // 64 * 64
    labels = torch.full((n, padded), -100)
    labels[:, PREFIX + RECORD - 1:length - 1] = ids[:, PREFIX + RECORD:]
    logits = F.linear(model(F.pad(ids, (0, padded - length))), model.head)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")


def main():
    name, variant, samples = sys.argv[1], sys.argv[2], int(sys.argv[3])
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = Model(SHAPES[name])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    at_once = 8 if variant == "plain" else 4
    loss_of(model, variant, 1).backward()
    optimizer.step()
    optimizer.zero_grad()
    wall, cpu = time.monotonic(), time.process_time()
    for i in range(0, samples, at_once):
        loss_of(model, variant, min(at_once, samples - i)).backward()
    optimizer.step()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(json.dumps({
        "version": torch.__version__, "threads": threads, "samples": samples,
        "wall_s": wall / samples, "cpu_s": cpu / samples / threads,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }))


if __name__ == "__main__":
    main()
