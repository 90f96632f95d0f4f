"""The images pane: a run's pictures, such as restorations or samples, at the time cursor's step."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from dipddpm.core.events import ImageSaved
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.widgets.pictures import PictureFile, PictureView

NONE_YET = "This run has stored no picture yet."
MEANINGS = {
    "difference": "what was changed; grey is nothing, black or white is 64 grey levels or more",
    "spread": "how far restorations of the picture differ; black is certain",
}
"""The meanings of panels that aren't pictures of the subject."""


class ImagesPane(Pane, can_focus=True):
    """One picture, as large as fits, below a line with the names of all pictures."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,down,j", "turn(1)", "next picture"),
        Binding("left,h,up,k", "turn(-1)", "previous picture", show=False),
        Binding("v", "change_view", "before and after, difference, spread"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"images--name", "images--shown", "images--dim"}

    _view: View | None = None
    _chosen = ""
    _part = 0
    """The number of the chosen part of a picture with a difference, which is shown part by part."""

    def compose(self) -> ComposeResult:
        """Add the line of names and the picture."""
        yield Static(id="images-names", markup=False)
        yield PictureView(id="images-picture")
        yield Static(NONE_YET, id="images-none", markup=False)

    def present(self, view: View) -> None:
        """Show the chosen picture at the time cursor's step."""
        self._view = view
        names = list(view.series.pictures())
        if names and self._chosen not in names:
            self._chosen = next((name for name in names if name.startswith("restored")), names[-1])
        self.query_one("#images-none").display = not names
        self.query_one("#images-names").display = bool(names)
        self.query_one(PictureView).display = bool(names)
        if names:
            self._show(view, names)

    def _show(self, view: View, names: list[str]) -> None:
        step = view.series.step if view.step is None else view.step
        picture = view.series.picture(self._chosen, step)
        assert picture is not None
        pictures = view.series.pictures()[self._chosen]
        line = Text(no_wrap=True, overflow="ellipsis")
        for name in names:
            tone = "images--shown" if name == self._chosen else "images--name"
            line.append(f" {printable(name, 40)} ", self.get_component_rich_style(tone))
        position = f"   step {picture.step:,}" + (
            f", {pictures.index(picture) + 1} of {len(pictures)}" if len(pictures) > 1 else ""
        )
        line.append(position, self.get_component_rich_style("images--dim"))
        parts = _parts(picture)
        first, last = parts[self._part % len(parts)]
        if len(parts) > 1:
            following = parts[(self._part + 1) % len(parts)][0]
            name = picture.panels[following].partition(",")[0] if following else "before and after"
            line.append(f"   v: {name}", self.get_component_rich_style("images--dim"))
        self.query_one("#images-names", Static).update(line)
        panels = picture.panels[first:last]
        words = [picture.title, " | ".join(panels)]
        if len(panels) == 1 and (meaning := MEANINGS.get(panels[0].partition(",")[0])):
            words = [f"{panels[0]}: {meaning}"]
        self.query_one(PictureView).show(
            PictureFile(view.run.folder, picture.file, (first, last, max(1, len(picture.panels)))),
            printable("  ".join(filter(None, words)), 200),
        )

    def action_turn(self, by: int) -> None:
        """Show the next or the previous picture."""
        names = list(self._view.series.pictures()) if self._view else []
        if names and self._view is not None:
            self._chosen = names[(names.index(self._chosen) + by) % len(names)]
            self._show(self._view, names)

    def action_change_view(self) -> None:
        """Show the next part of a picture: before and after, the difference, the spread."""
        names = list(self._view.series.pictures()) if self._view else []
        if names and self._view is not None:
            self._part += 1
            self._show(self._view, names)


def _parts(picture: ImageSaved) -> list[tuple[int, int]]:
    """Return the panels that are shown together, as first and last ones: before and after, then each other panel.

    A picture without a difference, or with several images, is shown as a whole.
    """
    count = len(picture.panels)
    if "difference" not in picture.panels or picture.columns != count:
        return [(0, max(1, count))]
    return [(0, 2), *((panel, panel + 1) for panel in range(2, count))]
