"""YAML's syntax errors in our form, with a hint for the usual traps.

The parser says what it expected; people want to know what to write. Each trap is one small test on the offending line.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from gateway.config.tree import Findings, Mark

_WORDS = (
    ("expected ',' or '}'", "expected `,` or `}`"),
    ("expected ',' or ']'", "expected `,` or `]`"),
    ("expected <block end>", "this does not go on with what stands above it"),
    ("did not find expected '-' indicator", "this does not go on with what stands above it"),
    ("did not find expected key", "this does not go on with what stands above it"),
    ("mapping values are not allowed", "unexpected `: `"),
    ("found undefined alias", "an alias without its anchor"),
    ("found character that cannot start any token", "a text cannot begin so"),
    ("found character", "a text cannot begin so"),
    ("unexpected end of stream", "a quote is never closed"),
    ("found another document", "a second document begins"),
    ("could not find expected ':'", "a key without its colon"),
    ("block sequence entries are not allowed", "a list cannot begin here"),
    ("sequence entries are not allowed", "a list cannot begin here"),
)


def report_syntax(error: yaml.YAMLError, text: str, file: str, findings: Findings) -> None:
    """One finding for the place where the parser gave up."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        before = text[:position] if isinstance(position, int) else ""
        character = getattr(error, "character", None)
        name = (
            f"U+{ord(character) if isinstance(character, str) else character:04X}" if character is not None else "one"
        )
        place = Mark(file, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
        findings.error_at(place, (), f"YAML: a control character ({name}) stands in the text; remove it")
        return
    problem = getattr(error, "problem", None) or "cannot be read"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    said = next((ours for theirs, ours in _WORDS if theirs in problem), problem)
    hint = _hint(error, problem, line, mark)
    findings.error_at(Mark(file, mark.line + 1, mark.column + 1), (), f"YAML: {said}" + (f"; {hint}" if hint else ""))


def _hint(error: Any, problem: str, line: str, mark: Any) -> str:
    rest = line[mark.column :]
    opened = error.context_mark
    where = f"line {opened.line + 1}" if opened is not None else ""
    in_flow = "flow" in (error.context or "")
    if rest.startswith("\t") or re.match(r" *\t", line):
        return "indent with spaces, not with tabs"
    if rest[:1] and rest[0] in "%@`":
        word = (re.match(r"[^\s,}\]]+", rest) or [rest[0]])[0]
        return f'a text that begins with `{rest[0]}` needs quotes: `"{word}"`'
    if in_flow and (variable := re.search(r"\$\{[^}]*\}", line)):
        return f'inside [ ] and {{ }} a variable needs quotes: `"{variable[0]}"`'
    if (
        in_flow
        and (address := re.search(r"[\w+]+://\[[0-9A-Fa-f:.%\w]*:[^\]]*\][^\s,\]]*", line))
        and "://" in address[0]
    ):
        return f'a text with [ ] needs quotes: `"{address[0]}"`'
    if in_flow and re.search(r"[\[{, ]::?[0-9A-Fa-f]*", line):
        return "a text that begins with `:` needs quotes"
    if "end of stream" in problem and "quoted" in (error.context or ""):
        return f"it was opened in {where}"
    if in_flow:
        bracket = "[" if "sequence" in error.context else "{"
        return f"either a comma is missing, or the `{bracket}` opened in {where} is not closed before here"
    if "mapping values" in problem:
        if mark.line and re.match(r"\s", line) and rest.startswith(":"):
            return "either the indentation of this line is wrong, or a text with `: ` in it needs quotes"
        return "a text with `: ` in it needs quotes"
    if "undefined alias" in problem:
        word = (re.match(r"\*[^\s,}\]]*", rest) or ["*"])[0]
        return f"no `&{word[1:]}` stands before it; a text that begins with `*` needs quotes"
    if "another document" in problem:
        return "a plant is one document: remove the `---`, or put the rest into a file of its own and `include` it"
    if "could not find expected ':'" in problem:
        return "keys are written `key: value`, with a blank after the colon"
    if "sequence entries" in problem:
        return "`- ` begins a list on a line of its own; quote a text that begins with it"
    if "expected <block end>" in problem or "did not find expected" in problem:
        begun = f", it belongs to what begins in {where}" if where else ""
        return f"the indentation of this line is wrong{begun}"
    return ""
