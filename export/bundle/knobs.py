"""α β γ T that learning on the device starts with: those given, and the run's where none are.

Run and device compute one loss: the weights of the probes are constants of the graphs. So the run's numbers mean the same there.
"""

from export.schema import Loss
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from mentor_mentee.objective.knobs import Knobs as Knobs

GAMMA, TEMPERATURE = 1.0, 4.0  # after a run that never heard the mentor's softmax, or a checkpoint that does not say
WEIGHTS, TEMPERATURES = (0.0, 1e9), (1e-3, 1e6)  # docs/bundle.md, "Reading one safely"


def device_knobs(given: Loss, checkpoint: MenteeCheckpoint) -> Knobs:
    """Raises `UserError` for a number that no device takes."""
    beta, gamma, temperature = at_the_end(checkpoint)
    knobs = Knobs(
        alpha=given.alpha,
        beta=beta if given.beta is None else given.beta,
        gamma=gamma if given.gamma is None else given.gamma,
        temperature=temperature if given.temperature is None else given.temperature,
    )
    for name, value in vars(knobs).items():
        least, most = TEMPERATURES if name == "temperature" else WEIGHTS
        if not least <= value <= most:
            whose = ", which the run had at its last step" if getattr(given, name) is None else ""
            raise UserError(
                f"loss.{name}={value:g}{whose}; devices take {least:g} to {most:g}: give another loss.{name}"
            )
    return knobs


def at_the_end(checkpoint: MenteeCheckpoint) -> tuple[float, float, float]:
    """β, γ and T of the run's last step. γ is the run's highest where it had fallen to 0 by then: the device needs the mentor's
    softmax to keep what everybody else had."""
    run = checkpoint.knobs
    if run is None:
        return 0.0, GAMMA, TEMPERATURE
    if run.highest_gamma == 0:
        return run.beta, GAMMA, TEMPERATURE
    return run.beta, run.gamma or run.highest_gamma, run.temperature


def in_words(given: Loss, checkpoint: MenteeCheckpoint) -> str:
    """`alpha 1, beta 0, gamma 0.42, temperature 9.5; gamma, temperature as in the run`."""
    shown = ", ".join(f"{name} {value:.3g}" for name, value in vars(device_knobs(given, checkpoint)).items())
    followed = [name for name, value in vars(given).items() if value is None]
    if not followed:
        return shown
    return f"{shown}; {', '.join(followed)} {whence(checkpoint)}"


def whence(checkpoint: MenteeCheckpoint) -> str:
    """Where `at_the_end` has γ and T from, for a person."""
    if checkpoint.knobs is None:
        return "by default, an older checkpoint"
    if checkpoint.knobs.highest_gamma == 0:
        return "by default: the run had no softmax of a mentor"
    return "as in the run" if checkpoint.knobs.gamma else "as in the run, gamma its highest: it ended at 0"
