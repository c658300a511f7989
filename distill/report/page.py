"""One HTML file with a run's tables and figures in it, readable anywhere without the folder it came from."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #d7dce2; text-align: right } th { text-align: right }
th:first-child, td:first-child { text-align: left } p.note { color: #57606a; max-width: 48rem }
img { max-width: 100%; height: auto }
"""


@dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def print(self, console: Console) -> None:
        table = RichTable(*(Column(Text(head)) for head in self.header), title=Text(self.title), title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*map(Text, row))  # a str would be read as markup, and [layer3,features.2] taken for a style
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)

    def as_html(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in self.notes)
        return f"<h2>{html.escape(self.title)}</h2><table><tr>{head}</tr>{rows}</table>{notes}"


@dataclass(frozen=True)
class Picture:
    caption: str
    path: Path  # a PNG

    def as_html(self) -> str:
        data = base64.b64encode(self.path.read_bytes()).decode()
        caption = html.escape(self.caption)
        return f'<h2>{caption}</h2><img alt="{caption}" src="data:image/png;base64,{data}">'


def shown(path: Path) -> Path:
    """The path, relative to the working directory if it lies there."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_absolute() and path.is_relative_to(here) else path


def write_report(path: Path, title: str, parts: Sequence[Table | Picture]) -> None:
    body = "\n".join(part.as_html() for part in parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>\n{body}\n</html>\n",
        encoding="utf-8",
    )
