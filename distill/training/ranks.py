"""A training by several processes (DDP): each has its share of every batch, and all of them the loss of the whole batch.

The loss is no mean over samples (the root of RMSE stands outside the mean), so what it compares is gathered, and every process
differentiates the loss of the whole batch by its own share. Lightning takes the mean of the processes' gradients, where the
gradient of the whole is their sum: hence the factor in `Distillation.training_step`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from mentor_mentee.errors import UserError


def gathered(local: Tensor) -> Tensor:
    """[B, ...] of this process -> those of all, one after the other; shares may differ in length. The gradient is that of this
    process's own share: the sum over all processes is the whole batch's."""
    sizes = [torch.zeros(1, dtype=torch.int64, device=local.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(local)], device=local.device))
    counts = [int(size) for size in sizes]
    with torch.no_grad():
        padded = torch.zeros((max(counts), *local.shape[1:]), dtype=local.dtype, device=local.device)
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
    shares = [part[:count] for part, count in zip(parts, counts, strict=True)]
    shares[dist.get_rank()] = local
    return torch.cat(shares)


@contextmanager
def ends_together() -> Iterator[None]:
    """Makes one line of what ended a process, of the training or of its batches: torch has ended the others by then."""
    try:
        yield
    except (UserError, OSError) as error:
        if (message := of_worker(error)) is None:
            raise
        raise UserError(message) from None
    except RuntimeError as error:
        if dist.is_initialized() and re.search(r"gloo|NCCL|Connection (closed|reset)", str(error)):
            raise UserError(
                f"another process of the training ended, and rank {dist.get_rank()} with it ({brief(error)}); the finished "
                "epochs are saved: start all of them again with the same settings and resume=true"
            ) from None
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise UserError(
            f"a process that reads batches was ended ({brief(error)}); the finished epochs are saved: the same settings with "
            "resume=true go on from the last; fewer processes take less memory: trainer.workers=0"
        ) from None
    except ProcessExitedException as error:
        ended = f"by signal {error.signal_name}" if error.signal_name else f"with exit code {error.exit_code}"
        raise UserError(
            f"a process of the training, rank {error.error_index}, was ended {ended}, and the others with it; the finished "
            "epochs are saved: the same settings with resume=true go on from the last"
        ) from None
    except ProcessRaisedException as error:
        if (message := last_user_error(str(error))) is not None:
            raise UserError(message) from None
        if "KeyboardInterrupt" in str(error).strip().splitlines()[-1]:
            raise KeyboardInterrupt from None
        raise


def brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def last_user_error(trace: str) -> str | None:
    """The message of the `UserError` that a printed traceback ends in."""
    name, _, message = trace.strip().splitlines()[-1].partition(": ")
    return message if name == f"{UserError.__module__}.{UserError.__name__}" else None


def of_worker(error: UserError | OSError) -> str | None:
    """The message of what a process of a DataLoader raised: torch gives it on with that one's traceback in it."""
    text = str(error)
    if not text.startswith("Caught "):
        return None
    return last_user_error(text) or text.strip().splitlines()[-1]
