"""The peer: timm's Vision Transformer in PyTorch eager, fused attention, the same work as bench/step.ts.

python3 bench/peer.py '{"model": "small", "batch": 16, "threads": 2, "last": null}'
Prints "ready", then for every line on standard input the milliseconds of one full training step (forward, backward, clipping, AdamW), or of
one forward pass where the line is "forward".
"""
import json, sys, time

import vision

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])
torch.manual_seed(0)
width, heads, patch = {"small": (384, 6, 14), "tiny": (192, 3, 16)}[job["model"]]
net = VisionTransformer(img_size=224, patch_size=patch, embed_dim=width, depth=12, num_heads=heads, num_classes=2, init_values=1e-5 if job["model"] == "small" else None)
net.train()
if job["last"] is not None:
    for p in net.parameters(): p.requires_grad_(False)
    for part in (*net.blocks[-job["last"]:], net.norm, net.head):
        for p in part.parameters(): p.requires_grad_(True)
params = [p for p in net.parameters() if p.requires_grad]
opt = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.05)
x = torch.randn(job["batch"], 3, 224, 224)
y = torch.arange(job["batch"]) % 2


def step():
    began = time.perf_counter()
    opt.zero_grad()
    F.cross_entropy(net(x), y).backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    opt.step()
    return (time.perf_counter() - began) * 1000


def forward():
    net.eval()
    with torch.no_grad():
        began = time.perf_counter()
        net(x)
        ms = (time.perf_counter() - began) * 1000
    net.train()
    return ms


step(); step()
print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    print(forward() if line.strip() == "forward" else step(), flush=True)
