"""Labels where the owner gave none."""

from collections.abc import Collection

from mentee_device.labels import assign
from mentee_device.labels.assign import Guess, GuessRules
from mentee_device.labels.pseudo_labels import GUESSED, Mentor
from mentee_device.owner.opened import Opened
from mentee_device.runs.run import OnProgress
from mentee_device.runs.unlearn import Unlearned


class Labelling(Opened):
    """Guesses are marked, weigh less, and can be taken back."""

    def guess(self, rules: GuessRules | None = None, mentor: Mentor | None = None) -> list[Guess]:
        """Labels for samples that have none, each marked as a guess, at a quarter of a label's weight; the new ones.

        First the mentor's: recorded with the sample, or `mentor(input)` -> logits [N, K] where it does not raise OSError. Then
        by `rules` the mentee's own, or those of the groups that the owner's samples lie in (runs/clusters.py), and what their
        neighbours in a stream say (labels/pseudo_labels.py). Raises SampleError.
        """
        self.runs.require_rest()
        return assign.guess(self.state, self.learner, rules or GuessRules(), mentor)

    def guesses(self) -> list[Guess]:
        """All guesses that stand, and what they were guessed from."""
        return assign.guesses(self.state)

    def undo_guesses(
        self,
        samples: Collection[int] | None = None,
        sources: Collection[str] = GUESSED,
        *,
        on_progress: OnProgress | None = None,
    ) -> Unlearned:
        """Takes guessed labels back, all or those of these samples and sources, and what they taught, as `unlearn` does; the
        samples stay, unlabelled. Raises SampleError for one that has no guessed label."""
        self.runs.require_rest()
        return assign.undo(self.runs, samples, sources, on_progress)
