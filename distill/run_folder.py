"""Names of the files that a run leaves in its folder. Imports no torch."""

from pathlib import Path

from mentor_mentee.errors import UserError

MENTEE = "mentee.safetensors"  # what is handed over to the export
CARD = "README.md"  # its model card
CHECKPOINT = "last.ckpt"  # Lightning's, after each epoch: what a resumed run starts from
HISTORY = "history.json"  # a row an epoch
PROBES = "probes.json"  # the layers that were compared, and why
RECORD = "run.json"  # settings, seeds and scores, written when the run ends


def require_checkpoint(run_dir: Path) -> Path:
    path = run_dir / CHECKPOINT
    if not path.is_file():
        raise UserError(f"nothing to resume: no checkpoint at '{path}'; start the run without resume=true")
    return path
