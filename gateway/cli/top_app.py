"""The terminal application behind `gateway top`. What is shown is worked out in `top_rows`; here it is drawn.

The rule of the file: only the lines that are on the screen are drawn, so 1,000 devices cost what 20 do; and the gateway
is asked in a thread of its own, so that keys work while it does not answer.
"""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.message import Message
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input, Static

from gateway.cli.top_look import Looker
from gateway.cli.top_rows import Look, Row, View, chosen, head, laid_out, line, views
from gateway.control.findings import span
from gateway.control.path import ControlError

MOST_WRONG = 6
"""Lines about what is wrong above the table; all of them are in the first table."""
WRONG_PART = 4
"""And at most one in so many lines of the terminal."""
LATE_S = 2.0
"""Behind the time of the next look: what is shown is told to be old."""
_STYLES = {"red": Style(color="red"), "yellow": Style(color="yellow"), "dim": Style(dim=True), "": Style()}
_FOOT = "q quit  1-7 Tab table  s sort  r reverse  / filter  Enter more  p pause"


class Looked(Message):
    """The gateway was asked."""

    def __init__(self, look: Look | None, trouble: str) -> None:
        super().__init__()
        self.look = look
        self.trouble = trouble


class Grid(ScrollView, can_focus=True):
    """A table of which only what is visible is drawn, with a line that the keys move."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home,g", "move(-1000000)", show=False),
        Binding("end,G", "move(1000000)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._view = View("", (), [])
        self._rows: list[Row] = []
        self._layout: list[tuple[int, int]] = []
        self._at = 0
        self.is_old = False
        """What is shown was true some time ago."""

    @property
    def chosen_row(self) -> Row | None:
        return self._rows[self._at] if self._at < len(self._rows) else None

    def show(self, view: View, rows: list[Row], *, is_other: bool) -> None:
        """Show these; the chosen line stays with what it was about. `is_other`: another table, begin at its top."""
        name = "" if is_other or self.chosen_row is None else self.chosen_row.name
        self._view, self._rows = view, rows
        self._layout = laid_out(view, rows, max(1, self.size.width - self.scrollbar_size_vertical))
        if is_other:
            self._at = 0
            self.scroll_to(y=0, animate=False)
        else:
            found = next((at for at, row in enumerate(rows) if row.name == name), self._at)
            if self._at < len(rows) and rows[self._at].name != name:
                self._at = found
        self._at = min(self._at, max(0, len(rows) - 1))
        self.virtual_size = Size(max(1, self.size.width - self.scrollbar_size_vertical), len(rows))
        self.refresh()

    def heading(self) -> str:
        return line(self._view, [column.name for column in self._view.columns], self._layout)

    def render_line(self, y: int) -> Strip:
        at = y + int(self.scroll_offset.y)
        width = self.size.width
        if at >= len(self._rows):
            return Strip.blank(width)
        row = self._rows[at]
        style = _STYLES["dim"] if self.is_old else _STYLES[row.colour]
        if at == self._at and self.has_focus:
            style += Style(reverse=True)
        text = line(self._view, row.cells, self._layout)
        return Strip([Segment(text.ljust(width)[:width], style)], width)

    def action_move(self, by: int) -> None:
        self._at = min(max(0, self._at + by), max(0, len(self._rows) - 1))
        top, height = int(self.scroll_offset.y), self.size.height
        if self._at < top:
            self.scroll_to(y=self._at, animate=False)
        elif self._at >= top + height:
            self.scroll_to(y=self._at - height + 1, animate=False)
        self.refresh()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - 1))

    def on_click(self, event: events.Click) -> None:
        self._at = min(event.y + int(self.scroll_offset.y), max(0, len(self._rows) - 1))
        self.refresh()


class More(ModalScreen[None]):
    """All about one row."""

    CSS = """
    More { align: center middle; }
    More > VerticalScroll { width: 96%; height: 90%; border: round $foreground; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "dismiss", show=False)]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(Text(self._text))


class TopApp(App[None]):
    """The whole screen."""

    CSS = """
    Screen { layout: vertical; }
    #head, #wrong, #tabs, #heading, #foot { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    #heading { text-style: bold underline; }
    #foot { color: $text-muted; }
    Grid { height: 1fr; }
    Input { height: 1; border: none; padding: 0; display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c,ctrl+q", "quit", show=False, priority=False),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("tab,right", "next(1)", show=False, priority=False),
        Binding("shift+tab,left", "next(-1)", show=False),
        *(Binding(str(number), f"table({number - 1})", show=False) for number in range(1, 8)),
        Binding("s", "sort(1)", show=False),
        Binding("S", "sort(-1)", show=False),
        Binding("r", "reverse", show=False),
        Binding("slash", "filter", show=False),
        Binding("escape", "clear", show=False),
        Binding("enter", "more", show=False),
        Binding("p", "pause", show=False),
    ]

    def __init__(self, looker: Looker, first: Look, every_s: float) -> None:
        """`first`: what the gateway answered before the terminal was taken."""
        super().__init__(ansi_color=True)
        self._looker = looker
        self._every_s = every_s
        self._look = self._before = first
        self._views: list[View] = []
        self._viewed: Look | None = None
        """What `_views` shows."""
        self._table = "devices"
        self._sort: int | None = None
        self._is_reversed = False
        self._words = ""
        self._is_paused = False
        self._trouble = ""
        self._answered_s = time.monotonic()
        self._end = threading.Event()

    def compose(self) -> ComposeResult:
        for name in ("head", "wrong", "tabs", "heading"):
            yield Static(id=name)
        yield Grid()
        yield Input(placeholder="show rows with ...; Enter keeps it, Esc shows all")
        yield Static(_FOOT, id="foot")

    def on_mount(self) -> None:
        self.query_one(Grid).focus()
        self._show(is_other=True)
        self.set_interval(LATE_S / 4, self._judge)
        threading.Thread(target=self._ask, daemon=True).start()

    def on_unmount(self) -> None:
        self._end.set()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    # -- the gateway --------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """In a thread: it may take seconds when the gateway hangs."""
        while not self._end.wait(self._every_s):
            look, trouble = None, ""
            try:
                look = self._looker.look()
            except ControlError as error:
                trouble = str(error)
            if not self._end.is_set():
                self.post_message(Looked(look, trouble))

    def on_looked(self, message: Looked) -> None:
        if message.look is None:
            self._trouble = message.trouble
        else:
            self._answered_s = time.monotonic()
            if not self._is_paused or self._trouble:
                self._before, self._look, self._trouble = self._look, message.look, ""
        self._show()

    def _judge(self) -> None:
        """A gateway that hangs says nothing for a long time: what it said last must not look like now."""
        if not self._trouble and time.monotonic() - self._answered_s > self._every_s + LATE_S:
            self._trouble = "it does not answer, it is stopped or overloaded"
        if self._trouble:
            self._show()

    # -- the screen ---------------------------------------------------------------------------------------------

    def _show(self, *, is_other: bool = False) -> None:
        if not self.is_running or not self.screen_stack:
            return
        look = self._look
        before = None if self._before is look else self._before
        if self._viewed is not look:  # a tenth of a second of work with 1,000 devices: not for every key
            self._views, self._viewed = views(look, before), look
        titles = [view.title for view in self._views]
        if self._table not in titles:
            self._table, is_other = titles[0], True
        view = self._views[titles.index(self._table)]
        rows = chosen(view, self._words, self._sort, is_reversed=self._is_reversed)
        grid = self._of(Grid)
        grid.is_old = bool(self._trouble)
        grid.show(view, rows, is_other=is_other)
        self._show_head(head(look, before))
        self._show_wrong(self._views[0])
        names = [f"{number} {each.title}" for number, each in enumerate(self._views, 1)]
        counted = [
            f"{name} {sum(bool(row.cells[0]) for row in each.rows)}"
            for name, each in zip(names, self._views, strict=True)
        ]
        fits = len("  ".join(counted)) <= self.size.width
        shown = zip(counted if fits else names, self._views, strict=True)
        tabs = [Text(name, "reverse" if each.title == self._table else "") for name, each in shown]
        self._static("tabs").update(Text("  ").join(tabs))
        marks = [f"sorted by {view.columns[self._sort].name}"] if self._sort is not None else []
        marks += ["reversed"] if self._is_reversed else []
        marks += [f"with '{self._words}': {len(rows)} of {len(view.rows)}"] if self._words else []
        marks += ["PAUSED"] if self._is_paused else []
        self._static("foot").update(Text("; ".join(marks) + " | " + _FOOT if marks else _FOOT, no_wrap=True))
        heading = Text(grid.heading(), no_wrap=True)
        self._static("heading").update(heading)

    def _show_head(self, lines: list[str]) -> None:
        text = Text(no_wrap=True, overflow="ellipsis")
        if self._trouble:
            since = span(round(time.monotonic() - self._answered_s))
            text.append(f"NO ANSWER for {since}, trying again: {self._trouble}\n", "bold red")
            text.append(f"before that: {lines[1]}", "dim")
        else:
            text.append("\n".join(lines))
        self._static("head").update(text)

    def _show_wrong(self, view: View) -> None:
        most = max(1, min(MOST_WRONG, self.size.height // WRONG_PART))
        found = [row for row in view.rows if row.cells[0]]
        text = Text(no_wrap=True, overflow="ellipsis")
        if not found:
            text.append("nothing is wrong", "green")
        for row in found[: most if len(found) <= most else most - 1]:
            text.append(("" if not text else "\n") + " ".join(row.cells), "red")
        if len(found) > most:
            text.append(f"{chr(10) if text else ''}and {len(found) - most + 1} more that is wrong: 1 shows it", "red")
        self._static("wrong").update(text)

    def _static(self, name: str) -> Static:
        return self.screen_stack[0].query_one(f"#{name}", Static)

    def _of(self, kind: type[Any]) -> Any:
        return self.screen_stack[0].query_one(kind)

    # -- keys ---------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While all about a row is shown, keys are for that."""
        return len(self.screen_stack) == 1 or action == "quit"

    def _go_to(self, at: int) -> None:
        self._table, self._sort, self._is_reversed = self._views[at].title, None, False
        self._show(is_other=True)

    def action_table(self, number: int) -> None:
        if number < len(self._views):
            self._go_to(number)

    def action_next(self, by: int) -> None:
        titles = [view.title for view in self._views]
        self._go_to((titles.index(self._table) + by) % len(titles))

    def action_sort(self, by: int) -> None:
        """By the next column; behind the last one as at first, the worst first."""
        columns = len(next(view for view in self._views if view.title == self._table).columns)
        at = (-1 if self._sort is None else self._sort) + by
        self._sort = None if not 0 <= at < columns else at
        if self._sort is None and by < 0 and at < -1:
            self._sort = columns - 1
        self._show()

    def action_reverse(self) -> None:
        self._is_reversed = not self._is_reversed
        self._show()

    def action_filter(self) -> None:
        entry = self._of(Input)
        entry.styles.display = "block"
        entry.focus()

    def action_clear(self) -> None:
        """No filter, and no order of one's own."""
        entry = self._of(Input)
        entry.value, self._words = "", ""
        self._sort, self._is_reversed = None, False
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        self._show()

    def on_input_submitted(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        self._of(Input).styles.display = "none"
        self._of(Grid).focus()
        self._show()

    def action_pause(self) -> None:
        self._is_paused = not self._is_paused
        self._show()

    def action_more(self) -> None:
        row = self._of(Grid).chosen_row
        if row is not None:
            view = next(view for view in self._views if view.title == self._table)
            width = max(len(column.name) for column in view.columns)
            lines = [f"{column.name:<{width}}  {cell}" for column, cell in zip(view.columns, row.cells, strict=True)]
            self.push_screen(More("\n".join(lines)))
