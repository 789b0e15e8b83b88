"""The peer of learning one product: the same protocol in PyTorch eager with timm's ViT-S/14, as a careful user would write it.

python3 bench/product.py '{"folder": DIR of good images, "epochs": 10, "batch": 32, "last": 3, "threads": 2}'
For every line on standard input: the seconds of CutPaste for so many epochs on the last blocks (each step one half normal views, one half
pasted ones, the frozen blocks without gradients), the embeddings of all images, Ledoit-Wolf's density of their class tokens, and a bank
of patches by greedy k-centre with its cross-fitted scores.
"""
import glob, json, math, random, sys, time

import vision

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
CENTRES, PROJECTED, FIRST = 5208, 64, 12 - job["last"]


def cutpaste(image):
    """Li et al. 2021: a patch of 2 to 15 % of the area, sides 1:3 to 3:1, pasted elsewhere."""
    h, w, _ = image.shape
    area, ratio = random.uniform(0.02, 0.15) * h * w, math.exp(random.uniform(-math.log(3), math.log(3)))
    ph, pw = min(h - 1, max(1, round(math.sqrt(area * ratio)))), min(w - 1, max(1, round(math.sqrt(area / ratio))))
    y, x, ty, tx = random.randrange(h - ph), random.randrange(w - pw), random.randrange(h - ph), random.randrange(w - pw)
    out = image.copy()
    out[ty : ty + ph, tx : tx + pw] = np.clip(image[y : y + ph, x : x + pw] * random.uniform(0.9, 1.1), 0, 255)
    return out


def ready(images):
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def below(net, x, keep=()):
    x = net._pos_embed(net.patch_embed(x))
    kept = []
    for i, block in enumerate(net.blocks[:FIRST]):
        x = block(x)
        if i in keep:
            kept.append(F.normalize(net.norm(x)[:, 1:], dim=-1))
    return x, kept


def learn():
    began = time.perf_counter()
    torch.manual_seed(0)
    random.seed(0)
    net = VisionTransformer(img_size=224, patch_size=14, embed_dim=384, depth=12, num_heads=6, num_classes=2, init_values=1e-5)
    for p in net.parameters():
        p.requires_grad_(False)
    trained = [p for part in (*net.blocks[FIRST:], net.norm, net.head) for p in part.parameters()]
    for p in trained:
        p.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, lr=1e-4)
    images = [np.asarray(Image.open(f).convert("RGB").resize((224, 224), Image.BICUBIC)) for f in sorted(glob.glob(job["folder"] + "/*.png"))]
    half = job["batch"] // 2
    for _ in range(job["epochs"]):
        order = random.sample(range(len(images)), len(images))
        for s in range(0, len(order), half):
            normal = [images[i] for i in order[s : s + half]]
            views = ready(normal + [cutpaste(image) for image in normal])
            with torch.no_grad():
                state, _ = below(net, views)
            logits = net.head(net.norm(net.blocks[FIRST:](state)[:, 0]))
            optimizer.zero_grad()
            F.cross_entropy(logits, torch.arange(2).repeat_interleave(len(normal))).backward()
            optimizer.step()
    classes, patches = [], []
    with torch.no_grad():
        for s in range(0, len(images), 16):
            state, (six, nine) = below(net, ready(images[s : s + 16]), keep=(5, 8))
            classes.append(net.norm(net.blocks[FIRST:](state))[:, 0])
            patches.append(F.normalize(six + nine, dim=-1))
        x, bank = torch.cat(classes).double(), torch.cat(patches)
        n, d = x.shape
        centred = x - x.mean(0)
        sample = centred.T @ centred / n
        mu = sample.trace() / d
        delta = ((sample - mu * torch.eye(d)) ** 2).sum() / d
        beta = min(delta, ((centred**2).T @ centred**2 / n - sample**2).sum() / d / n)
        torch.linalg.cholesky(beta / delta * mu * torch.eye(d) + (1 - beta / delta) * sample)
        rows = bank.reshape(-1, d)
        points = rows @ torch.randn(d, PROJECTED) / math.sqrt(PROJECTED)
        squares = (points**2).sum(1)
        nearest = torch.full((len(points),), 1e30)
        chosen = [int(((points - points.mean(0)) ** 2).sum(1).argmin())]
        while len(chosen) < min(CENTRES, len(points)):
            centre = points[chosen[-1]]
            nearest = torch.minimum(nearest, squares - 2 * (points @ centre) + centre @ centre)
            chosen.append(int(nearest.argmax()))
        centres = rows[chosen]
        owner = torch.tensor(chosen) // bank.shape[1]
        for i, image in enumerate(bank):
            similarity = image @ centres.T
            similarity[:, owner == i] = -2
            (1 - similarity.max(1).values).max()
    return time.perf_counter() - began


print("ready", torch.__version__, flush=True)
for _ in sys.stdin:
    print(learn(), flush=True)
