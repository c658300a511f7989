"""Names that a file of a bundle may have: docs/bundle.md, "Reading one safely"."""

LONGEST_PATH, LONGEST_NAME = 1000, 255  # characters, and bytes of one part: what file systems take
GRAPH_SUFFIX = ".onnx"  # what ends otherwise may be of a kind that nothing here has looked into
ODD = '\\:*?"<>|'


def is_plain_path(path: str) -> bool:
    """Whether it is relative, has no odd character and no empty, . or .. part, is not too long, and not the manifest's or
    its signature's."""
    parts = path.split("/")
    odd = any(ord(one) < 32 or one in ODD or "\ud800" <= one <= "\udfff" for one in path)
    if odd or len(path) > LONGEST_PATH or any(part in ("", ".", "..") for part in parts):
        return False
    long = any(len(part.encode()) > LONGEST_NAME for part in parts)
    return not long and path not in ("manifest.json", "manifest.sig")
