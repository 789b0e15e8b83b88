"""The int8 peer: timm's ViT-S/14 in OpenVINO, quantised after training by NNCF as its guide says for transformers.

python3 bench/ov.py '{"batch": 16, "threads": 2}'
The outputs are those that detection reads: patches of blocks 6 and 9 and the class token. Prints "ready", then for every line on standard
input the milliseconds of one forward pass of the batch.
"""
import json, sys, time

import vision

import nncf
import numpy as np
import openvino as ov
import torch
from timm.models.vision_transformer import VisionTransformer

job = json.loads(sys.argv[1])
torch.manual_seed(0)
net = VisionTransformer(img_size=224, patch_size=14, embed_dim=384, depth=12, num_heads=6, num_classes=0, init_values=1e-5).eval()


class Seen(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net.requires_grad_(False)

    def forward(self, x):
        net, kept = self.net, []
        x = net._pos_embed(net.patch_embed(x))
        for i, block in enumerate(net.blocks):
            x = block(x)
            if i in (5, 8):
                kept.append(net.norm(x)[:, 1:])
        return kept[0] + kept[1], net.norm(x)[:, 0]


shape = (job["batch"], 3, 224, 224)
x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
model = ov.convert_model(Seen(), example_input=torch.from_numpy(x), input=[shape])
samples = [np.random.default_rng(i).standard_normal(shape, dtype=np.float32) for i in range(max(1, 32 // job["batch"]))]
model = nncf.quantize(model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED, subset_size=len(samples))
compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": job["threads"], "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"})
request = compiled.create_infer_request()
request.infer([x])
print("ready", ov.__version__, flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    request.infer([x])
    print((time.perf_counter() - began) * 1000, flush=True)
