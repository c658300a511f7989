"""Models on Hugging Face's hub: one file fetched, one folder pushed, and one line where that fails."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mentee.card import CARD, LIBRARY
from mentor_mentee.errors import UserError


def library() -> Any:
    if find_spec("huggingface_hub") is None:
        raise UserError(
            "the hub needs the package huggingface_hub, which is not installed: pip install 'mentor-mentee[hub]'; a local folder "
            "needs none"
        )
    import huggingface_hub

    return huggingface_hub


def require_name(name: str) -> None:
    parts = str(name).split("/")
    if len(parts) != 2 or not all(parts) or str(name).startswith((".", "~")):
        raise UserError(f"'{name}' is no folder and no name of the hub's; expected a folder that exists, or owner/name")


def fetched(name: str, file: str, revision: str | None = None) -> Path:
    """A file of a model, in the hub's cache. Raises `UserError` where it is neither there nor to be had."""
    require_name(name)
    hub = library()
    try:
        return Path(hub.hf_hub_download(name, file, revision=revision, library_name=LIBRARY))
    except Exception as error:  # no network, no such model, no right to it
        raise UserError(
            f"there is no folder '{name}' here, and {file} of '{name}' could not be had from the hub ({reason(error)}); check "
            "the name, log in with `hf auth login` where it is private, or give a local folder"
        ) from None


def pushed(folder: Path, name: str, private: bool | None = None, message: str = "") -> str:
    """Uploads a folder into the model `name`, made where there is none; a card that is there stays. Returns its address.

    Raises `UserError` where the hub cannot be reached or refuses it; the folder is as it was."""
    require_name(name)
    hub = library()
    try:
        api = hub.HfApi(library_name=LIBRARY)
        address = api.create_repo(name, private=private, exist_ok=True)
        leave = [CARD] if api.file_exists(name, CARD) else None
        api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=message or "A mentee's checkpoint", ignore_patterns=leave
        )
    except Exception as error:
        raise UserError(
            f"'{name}' could not be pushed to the hub ({reason(error)}); log in with `hf auth login` (a token that may write), "
            "check the name and the network; save_pretrained(folder) needs neither"
        ) from None
    return str(address)


def reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
