"""Milliseconds a mentor's answer to one image takes in float32 and in bfloat16 (autocast), and how far the logits differ.

    python -m benchmarks.speed.mentor_precision [ROUNDS]

torchvision's networks with fresh weights, one thread, interleaved rounds of one batch each.
"""

import statistics
import sys
import time

import torch
from torch import nn

from mentor.mentor import Mentor
from mentor.precisions import FULL
from mentor.torchvision_models import classifier
from mentor_mentee.data.views.view import View

HALF = "bf16-mixed"
CASES = {"resnet18": 64, "resnet50": 64, "vgg16": 64, "mobilenet_v3_large": 64, "vit_b_16": 224}  # name: pixels


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, n = {rounds} rounds")
    print(f"{'network':20} pixels  float32 ms  bf16 ms  ratio  largest difference / largest logit")
    for name, size in CASES.items():
        torch.manual_seed(0)
        network, view = classifier(name, 10), View((3, size, size), (0.5,) * 3, (0.5,) * 3)
        for value in network.parameters():
            if not value.any():  # as the head of a new ViT, whose logits would all be 0
                nn.init.normal_(value, std=0.02)
        mentors = {precision: Mentor(network, view, precision=precision) for precision in (FULL, HALF)}
        images = torch.randint(0, 256, (8 if size > 100 else 32, 3, size, size), dtype=torch.uint8)
        logits = {precision: mentor.answer(images).logits for precision, mentor in mentors.items()}
        milliseconds: dict[str, list[float]] = {precision: [] for precision in mentors}
        for _ in range(rounds):
            for precision, mentor in mentors.items():
                start = time.process_time()
                mentor.answer(images)
                milliseconds[precision].append(1000 * (time.process_time() - start) / len(images))
        full, half = (statistics.median(values) for values in milliseconds.values())
        off = float((logits[HALF] - logits[FULL]).abs().max() / logits[FULL].abs().max())
        print(f"{name:20} {size:6}  {full:10.2f}  {half:7.2f}  {full / half:5.2f}  {off:.4f}")


if __name__ == "__main__":
    main()
