"""The peer of the detector: AnomalyDINO of anomalib 2.7, its torch model called directly (no Lightning trainer), the same work as bench/detect.ts.

python3 bench/anomalib.py '{"images": 200, "size": 224, "batch": 16, "threads": 2, "weights": FOLDER, "data": CATEGORY}'
weights: a backbone folder with transformers' DINOv2-S names; data: a category in MVTec's layout. Loads nothing from a network.
Its defaults throughout: last block through the final norm, one neighbour, no masking, no coreset (every patch of every image is kept, in
float32), mean of the worst 1 % of patches as the image's score, map smoothed with sigma 4 at the input's size. Not its default: the input
is `size` (its own: 252).
Prints "ready" once it has learnt, then a number for every line on standard input. "score": ms an image, from the file to score and map,
`batch` at a time. "fit": ms an image of learning all anew, from the files. "peak": bytes.
"""
import json, os, re, sys, time
from pathlib import Path

import vision

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.pop(0)  # this folder: this file has the package's name

import timm
import torch
from anomalib.data.utils import read_image
from anomalib.models.image.anomaly_dino.lightning_model import AnomalyDINO
from anomalib.models.image.anomaly_dino.torch_model import AnomalyDINOModel
from safetensors.torch import load_file

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])

# transformers' names in timm's
RENAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)


def weights(folder):
    tensors = {}
    for name, tensor in load_file(Path(folder, "model.safetensors")).items():
        for pattern, by in RENAMES:
            name = re.sub(pattern, by, name)
        tensors[name] = tensor
    tensors.pop("embeddings.mask_token", None)  # of pretraining alone
    for name in [name for name in tensors if ".attn.query." in name]:
        parts = [tensors.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        tensors[name.replace("query", "qkv")] = torch.cat(parts)
    return tensors


create = timm.create_model
timm.create_model = lambda name, pretrained, pretrained_cfg, **options: create(name, **options)  # it would download
model = AnomalyDINOModel()
timm.create_model = create
model.feature_encoder.feature_extractor.load_state_dict(weights(job["weights"]))  # strict: none may be missing or left over

prepare = AnomalyDINO.configure_pre_processor((job["size"], job["size"])).transform
normals = sorted(Path(job["data"], "train", "good").iterdir())[: job["images"]]
scored = sorted(Path(job["data"], "test").glob("*/*"))[:32]


def batches(files):
    for i in range(0, len(files), job["batch"]):
        yield torch.stack([prepare(read_image(file, as_tensor=True)) for file in files[i : i + job["batch"]]])


@torch.inference_mode()
def fit():
    model.memory_bank = torch.empty(0)  # the earlier one, if any, must not count as well
    model.train()
    for batch in batches(normals):
        model(batch)
    model.fit()
    model.eval()


@torch.inference_mode()
def score():
    for batch in batches(scored):
        found = model(batch)
        assert found.pred_score.isfinite().all() and found.anomaly_map.shape[-1] == job["size"]


def timed(work, images):
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000 / len(images)


answers = {
    "score": lambda: timed(score, scored),
    "fit": lambda: timed(fit, normals),
    "peak": lambda: 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]),
}
fit()
print("ready", flush=True)
for line in sys.stdin:
    print(answers[line.strip()](), flush=True)
