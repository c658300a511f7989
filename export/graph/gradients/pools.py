"""MaxPool's gradient within its own memory, in the training graph that ONNX Runtime differentiated.

`MaxPoolGrad` adds each number of its gradient at the place that MaxPool noted. MaxPool compares with −3.4e38, the lowest
float32: of a window that is NaN, −∞ or that number throughout it notes place −1 of each axis, which lies before the map. So

    MaxPoolGrad(dY, places) = MaxPoolGrad(dY, max(places, 0))

where every window has a number above that. Where one has none, its gradient goes to the first place, not to memory that is not
the map's (a process died of SIGSEGV there), and the device refuses the step.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

ZERO = "max_pool_gradient/first_place"


def bounded_pool_gradients(graph: onnx.GraphProto) -> int:
    """Bounds the places of every `MaxPoolGrad`, in place; how many there are."""
    places = [place for place, node in enumerate(graph.node) if node.op_type == "MaxPoolGrad"]
    for place in reversed(places):
        node = graph.node[place]
        bounded = f"{node.output[0]}/places"
        graph.node.insert(place, helper.make_node("Max", [node.input[1], ZERO], [bounded], name=bounded))
        graph.node[place + 1].input[1] = bounded
    if places:
        graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), ZERO))
    return len(places)
