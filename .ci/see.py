"""`python .ci/see.py [--links] FOLDER …`: makes this environment see the packages in other folders, after its own.

With --links it also follows the .pth files there, as of editable installs.
"""

import sys
import sysconfig
from pathlib import Path

folders = [str(Path(word).absolute()) for word in sys.argv[1:] if word != "--links"]
lines = [f"import site; site.addsitedir({folder!r})" if "--links" in sys.argv else folder for folder in folders]
(Path(sysconfig.get_path("purelib")) / "~seen.pth").write_text("\n".join(lines) + "\n")
