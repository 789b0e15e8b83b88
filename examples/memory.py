"""What a run folder knows, read without Keepsight: python memory.py results/demo/Anomaly (numpy, safetensors)

Of every product the score from which a picture is called a defect, and of every memory what is kept. Of `dne`, a Gaussian, also the
mean squared Mahalanobis distance of the good images it was learnt from, (x - m)' C^-1 (x - m), which their moments tell exactly.
"""
import json, math, pathlib, sys
import numpy as np
from safetensors.numpy import load_file


def shrunk(tensors):
    """[D, D] twice: the empirical covariance, stored as its lower triangle, and what Ledoit and Wolf (2004) make of it."""
    n, d, mean = int(tensors["n"][0]), len(tensors["mean"]), tensors["mean"]
    s = np.zeros((d, d))
    s[np.tril_indices(d)] = tensors["covariance"]
    s += np.tril(s, -1).T
    scale = np.trace(s) / d
    beta = (tensors["fourth"][0] / n - (s**2).sum()) / (n * d)
    delta = (s**2).sum() / d - scale**2
    amount = np.clip(beta / delta, SHRINKAGE if n > 2 else 1 / n, 1) if delta > 0 else 1
    target = max(scale, TARGET * (scale + mean @ mean / d))
    return s, (1 - amount) * s + amount * target * np.eye(d)


SHRINKAGE, TARGET = 1e-6, 1e-8  # least shares, as src/linalg/covariance.ts has them
memory = pathlib.Path(sys.argv[1]) / "memory"
manifest = json.loads((memory / "manifest.json").read_text("utf8"))
print(f"version {manifest['version']}, {len(manifest['tasks'])} products")
for task in manifest["tasks"]:
    for category in task["categories"]:
        threshold = task.get("threshold", -math.log10(manifest["falseAlarms"]))
        print(f"{category['id']}: a defect from score {threshold:.3f}")
        for setup, path in zip(manifest["memories"], category["memories"]):
            tensors = load_file(memory / path)
            kept = f"{(memory / path).stat().st_size / 1e3:.1f} kB"
            if "bank" in tensors:
                kept += f", bank of {tensors['bank'].shape[0]} patches"
            if "covariance" in tensors:
                s, c = shrunk(tensors)
                kept += f", {tensors['n'][0]} images, mean squared distance {np.trace(np.linalg.solve(c, s)):.6f}"
            print(f"  {setup['name']}: {kept}")
