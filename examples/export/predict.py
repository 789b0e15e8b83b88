"""What `keepsight predict` says of pictures, from an exported folder: python predict.py PICTURE... (onnxruntime, numpy, pillow)"""
import json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

folder = pathlib.Path(__file__).parent
manifest = json.loads((folder / "manifest.json").read_text("utf8"))
options = onnxruntime.SessionOptions()
for key, value in manifest["runtime"]["session"].items():
    options.add_session_config_entry(key, value)
session = onnxruntime.InferenceSession(folder / manifest["graph"], options)
names = [output.name for output in session.get_outputs()]

for path in sys.argv[1:]:
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("RGB")
    pixels = {one["name"]: picture.resize(one["size"][::-1], Image.Resampling.BICUBIC) for one in manifest["inputs"]}
    found = dict(zip(names, session.run(None, {
        name: np.asarray(image, np.float32).transpose(2, 0, 1)[None] for name, image in pixels.items()
    })))
    verdict = manifest["verdicts"][found["verdict"][0]]
    task = None if verdict in ("unknown", "unusable") else manifest["products"][found["task"][0]]["id"]
    print(json.dumps({"path": path, "score": found["score"][0], "threshold": found["threshold"][0], "verdict": verdict, "task": task}))
