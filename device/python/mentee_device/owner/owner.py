"""One owner's mentee, whole."""

from mentee_device.owner.answering import Answering
from mentee_device.owner.classes import Classes
from mentee_device.owner.labelling import Labelling
from mentee_device.owner.learning import Learning
from mentee_device.owner.relocating import Relocating


class Owner(Answering, Classes, Learning, Labelling, Relocating):
    """The mentee of `bundle` as this owner's `folder` has it; the folder is made where there is none.

    `threads` and `backend` are `Learner`'s; a state that one backend wrote goes on under another. `key`: 32 bytes that encrypt
    samples, parameters and all else that is personal. One process at a time. `notes` says what was mended on opening. Not for
    several threads at once, except `pause`. `samples`, `versions`, `enrolled` and `monitor` are the tables of
    the folder, `asking` the queue for the mentor's service. Raises
    BundleError, StateError, RuntimeMissing.
    """
