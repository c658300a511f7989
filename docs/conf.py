"""Builds the site: Sphinx with MyST and furo. `make docs` writes docs/_build/html; a warning is an error."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "device" / "python")]  # works without an installation

project = "mentor-mentee"
author = "the mentor-mentee authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "generated"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

smartquotes = False  # `--data` in a table stays two hyphens, and quotes can be copied into a shell
html_theme = "furo"
html_title = "mentor-mentee"
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# No network: types of other libraries are not looked up, all other references must resolve.
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as the source has them, not `<factory>`
autodoc_inherit_docstrings = False  # Lightning's are written for another builder
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
