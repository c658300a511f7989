"""`inference.int8.onnx`: inference.onnx with int8 weights and activations, a quarter of the bytes.

ONNX Runtime's own static quantisation: QDQ nodes, symmetric weights with one scale a channel, activations calibrated (least and
largest value) on samples of the training data. The training artifacts stay float32: no gradient passes int8.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor

BATCH = 32
KIND = "static QDQ, int8 weights per channel in 7 bits, int8 activations from least to largest value"


class Calibration:
    """Calibration data that `quantize_static` reads batch by batch: preprocessed samples [N, C, H, W]."""

    def __init__(self, samples: Tensor) -> None:
        self.batches: Iterator[Tensor] = (samples[start : start + BATCH] for start in range(0, len(samples), BATCH))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch.numpy()}


def quantize(inference: Path, target: Path, samples: Tensor) -> str | None:
    """Writes `target`; or the reason, in one line, why ONNX Runtime cannot quantise this mentee, with nothing written."""
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    logging.getLogger().addFilter(drop := lambda record: False)  # it advises a pre-processing that needs other packages
    try:
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
            shaped = Path(scratch) / inference.name
            onnx.save(onnx.shape_inference.infer_shapes(onnx.load(inference)), shaped)
            quantize_static(
                shaped,
                target,
                Calibration(samples),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,  # a processor with AVX2 and no VNNI adds pairs of products in 16 bits, which 8 overflow
                extra_options={"WeightSymmetric": True},
            )
        InferenceSession(target, providers=["CPUExecutionProvider"]).run(None, {"input": samples[:2].numpy()})
    except Exception as error:  # the quantiser raises whatever it stumbles over
        target.unlink(missing_ok=True)
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    finally:
        logging.getLogger().removeFilter(drop)
    return None
