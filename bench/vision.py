"""torchvision, which timm and anomalib import for parts that no figure here uses: what there is of it, or a stand-in.

To be imported first, before this folder leaves the path (files in it have packages' names).
"""
import importlib.abc, importlib.machinery, importlib.util, sys, types

import torch


class Nothing(type):
    def __getattr__(cls, name):
        return f"{cls.__name__}.{name}"


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """timm imports torchvision for parts that no ViT uses: an empty stand-in where it is not installed."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] == "torchvision" else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: Nothing(name, (), {}) if not name.startswith("__") else None
        return module

    def exec_module(self, module):
        pass


if importlib.util.find_spec("torchvision") is None:
    sys.meta_path.append(Absent())
else:
    try:
        import torchvision
    except RuntimeError:  # its own operators need CUDA's libraries: those that importing asks for are only named
        named = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            named.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
