"""What other tools read in a run folder, as JSON: scikit-learn's AUROC of every score file, every tensor by the safetensors package."""

import csv
import hashlib
import json
import pathlib
import sys

import safetensors.numpy
import sklearn.metrics

run = pathlib.Path(sys.argv[1])
auroc = {}
for path in sorted(run.glob("scores/after-*/*.csv")):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = [int(row["label"]) for row in rows]
    scores = [float(row["score"]) for row in rows]
    auroc[path.relative_to(run / "scores").as_posix()] = sklearn.metrics.roc_auc_score(labels, scores)

tensors = {}
for path in sorted(run.glob("memory/**/*.safetensors")):
    tensors[path.relative_to(run).as_posix()] = {
        name: [str(a.dtype), list(a.shape), hashlib.sha256(a.tobytes()).hexdigest()]
        for name, a in safetensors.numpy.load_file(path).items()
    }
json.dump({"auroc": auroc, "tensors": tensors}, sys.stdout)
