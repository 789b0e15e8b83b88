"""The peer of pixel metrics: AUPRO to a false-positive rate of .3 by anomalib 2.7, over the same maps and masks as bench/pixel.ts.

python3 bench/aupro.py '{"out": FOLDER, "threads": 2}'
Prints "ready", then a number for every line on standard input. "measure": ms of that one metric, from the maps on. "aupro": the metric.
"""
import json, sys, time
from pathlib import Path

import vision

sys.path.pop(0)  # this folder: a file in it has the package's name

import torch

import numpy as np
from anomalib.metrics.aupro import _AUPRO

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])
folder = Path(job["out"])
shape = json.loads((folder / "shape.json").read_text())
maps = torch.from_numpy(np.fromfile(folder / "maps.f32", np.float32).reshape(shape))
masks = torch.from_numpy(np.fromfile(folder / "masks.u8", np.uint8).reshape(shape))


def aupro():
    metric = _AUPRO(fpr_limit=0.3)
    metric.update(maps, masks)
    return float(metric.compute())


def measure():
    began = time.perf_counter()
    aupro()
    return (time.perf_counter() - began) * 1000


answers = {"measure": measure, "aupro": aupro}
print("ready", flush=True)
for line in sys.stdin:
    print(answers[line.strip()](), flush=True)
