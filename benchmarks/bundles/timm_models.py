"""Table of timm's small models as mentees: which train on the device, which are refused, and with what words.

    pip install timm                                     or .[timm]; no weights are loaded
    python -m benchmarks.bundles.timm_models [NAME …]    NAME:LAYER gives the head by name, as head=LAYER does

Fresh weights of seed 0, ten classes, samples of 3×64×64 (`SIZES`: another size, where a model takes none so small), one thread.
Preflight looks at each in a process of its own with a time bound: it takes steps with the artifacts, and compares outputs and
gradients with torch's in float64. What dies there is a row.
"""

import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.bundles.child import told
from export.preflight import look

CLASSES = 10
SIZE = 64
SIZES = {"inception_v3": 96, "crossvit_9_240": 120}
SECONDS = 600
MODELS = [
    "resnet10t", "resnet18d", "resnetv2_18", "seresnet18", "resnest14d", "densenet121", "inception_v3",
    "dla46_c", "regnetx_002", "regnety_002", "mobilenetv1_100", "mobilenetv2_050", "mobilenetv3_small_050",
    "mobilenetv3_large_100", "mobilenetv4_conv_small", "mobileone_s0", "mnasnet_small", "semnasnet_075",
    "spnasnet_100", "efficientnet_lite0", "efficientnet_b0", "tinynet_e",
    "lcnet_050", "hardcorenas_a", "rexnet_100", "ghostnet_050", "repvgg_a0", "convnext_atto", "convnextv2_atto",
    "edgenext_xx_small", "mobilevit_xxs", "mobilevitv2_050", "efficientvit_b0", "efficientvit_m0", "fastvit_t8", "poolformer_s12",
    "efficientformerv2_s0", "efficientformerv2_s0:head", "levit_128s", "levit_128s:head.linear", "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224", "deit_tiny_distilled_patch16_224:head", "vit_tiny_patch16_224", "xcit_nano_12_p16_224",
    "coat_lite_tiny", "crossvit_9_240", "crossvit_9_240:head.0", "pit_ti_224",
]  # fmt: skip


def make(name: str) -> nn.Module:
    """The model for samples of its size; those that fix a size of their own are told ours."""
    import timm

    torch.manual_seed(0)
    try:
        made: nn.Module = timm.create_model(name, num_classes=CLASSES, img_size=SIZES.get(name, SIZE))
    except TypeError:
        made = timm.create_model(name, num_classes=CLASSES)
    return made.eval()


def shape_for(name: str) -> tuple[int, int, int]:
    size = SIZES.get(name, SIZE)
    return 3, size, size


def looked_at(name: str) -> Iterator[Any]:
    """Parameters; then what was rewritten, the verdict, and seconds."""
    model, _, head = name.partition(":")
    network = make(model)
    yield sum(parameter.numel() for parameter in network.parameters())
    start = time.perf_counter()
    found = look(network, shape_for(model), head=head or None)
    counted = Counter(finding.op for finding in found.kinds[0].findings)
    said = f"yes: {found.verdict()}" if found.trains else f"no: {found.why()}"
    yield ", ".join(f"{times} {op}" for op, times in counted.items()) or "none", said, time.perf_counter() - start


def row(name: str) -> str:
    count, looked = told(2, SECONDS, looked_at, name)
    model, _, head = name.partition(":")
    cells = [f"{model}{f', `head={head}`' if head else ''}", f"{count:,}" if isinstance(count, int) else "–"]
    if not isinstance(looked, tuple):
        return line(*cells, "–", "–", f"no: {looked}")
    rewritten, said, seconds = looked
    return line(*cells, rewritten, f"{seconds:.0f}", said)


def line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def main() -> None:
    import timm

    warnings.simplefilter("ignore")  # timm's own
    print(f"torch {torch.__version__}, timm {timm.__version__}, 1 thread\n")
    print(line("model", "parameters", "rewritten", "preflight, s", "trains"))
    print("|---|---|---|---|---|", flush=True)
    for name in sys.argv[1:] or MODELS:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
