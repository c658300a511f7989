"""Figures that a device compares on first opening: torch's loss and its terms for some of the replay samples.

They depend on the graphs, the weights, the preprocessing, the knobs and every kind of the mentor's answers at once. So what was
mixed up on the way is found before a device learns from it.
"""

import torch

from export.bundle.prepare import Prepared
from export.graph.ports import KNOBS, GraphInputs
from export.parity.backends.reference import Reference
from mentor_mentee.objective.knobs import Knobs

SAMPLES = 8  # spread over the pack's labelled samples, or over all where none is


def expected_terms(prepared: Prepared, knobs: Knobs) -> dict[str, float]:
    """The eval graph's outputs that are one number, under the bundle's knobs: as docs/bundle.md describes `expected`."""
    pack, checkpoint = prepared.pack, prepared.checkpoint
    labelled = torch.nonzero(pack.labels_N >= 0).flatten()
    rows = labelled if len(labelled) else torch.arange(len(pack.labels_N))
    rows = rows[:: -(-len(rows) // SAMPLES)]
    labels = pack.labels_N[rows]
    feed = GraphInputs(
        input=checkpoint.view(pack.pixels[rows]),
        labels=labels,
        labelled=(labels >= 0).float(),
        mentor_logits=pack.mentor_logits_NK[rows].float(),
        mentor={probe.name: pack.mentor_activations[probe.name][rows].float() for probe in checkpoint.probes},
        supervised=torch.ones(len(rows)),
        **{name: torch.tensor([getattr(knobs, name)], dtype=torch.float32) for name in KNOBS},
    )
    outputs = Reference(prepared.graph).evaluated(feed)
    names = [port.name for port in prepared.outputs]
    return {
        name: float(value) for name, value in zip(names, outputs, strict=True) if name not in ("logits", "embedding")
    }
