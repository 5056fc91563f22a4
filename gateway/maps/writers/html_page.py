"""The map as one page without anything beside it: to read on a screen, light or dark, and to print."""

from __future__ import annotations

from html import escape

from gateway.maps.neutral import Map
from gateway.maps.target import Target, Written
from gateway.maps.writers.document import COLUMNS, introduction, sections

_STYLE = """
:root { color-scheme: light dark; --line: #c8ccd0; --head: #eef0f2; --text: #16191d; --back: #fff; --soft: #59616b; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a4149; --head: #22272d; --text: #e6e9ec; --back: #15181c; --soft: #9aa4af; }
}
body { font: 14px/1.45 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 2rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; } p { margin: .2rem 0; max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .2rem .5rem; text-align: left; vertical-align: top; }
th { background: var(--head); font-weight: 600; white-space: nowrap; }
td:nth-child(-n+2), td:nth-child(8) { white-space: nowrap; font-family: ui-monospace, monospace; font-size: .92em; }
footer { color: var(--soft); margin-top: 2rem; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root { --line: #999; --head: #eee; --text: #000; --back: #fff; --soft: #444; }
  body { margin: 0; font-size: 9pt; } .scroll { overflow: visible; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
"""


def write(served: Map, target: Target) -> Written:
    title = escape(f"{served.title}: register map")
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head>",
        f"<body><h1>{title}</h1>",
    ]
    lines += [f"<p>{escape(paragraph)}</p>" for paragraph in introduction(served, target)]
    unit = None
    heading = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    for unit_id, table, rows in sections(served):
        if unit_id != unit:
            unit = unit_id
            lines.append(f"<h2>Unit {unit_id}</h2>")
        lines.append(f'<h3>{table}</h3><div class="scroll"><table><thead><tr>{heading}</tr></thead><tbody>')
        lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
        lines.append("</tbody></table></div>")
    lines.append(f"<footer>gateway {escape(target.version)}</footer></body></html>")
    return Written("\n".join(lines) + "\n", dials=next(iter(target.doors), None))
