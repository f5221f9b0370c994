"""What the keys do: sort, filter, pause, scroll, help and quit."""

from dataclasses import dataclass

from streamd.top.columns import COLUMNS

HELP = (
    ("s  S  or arrows", "sort by the next column, by the previous one"),
    ("r", "reverse the order"),
    ("/", "filter by a part of the name; Enter keeps it, Esc clears it"),
    ("p  or blank", "pause, and go on"),
    ("j  k  or arrows", "scroll down, scroll up"),
    ("?  h", "this help"),
    ("q", "quit"),
)
_TURNS = {"s": 1, "right": 1, "S": -1, "left": -1}
_SCROLLS = {"j": 1, "down": 1, "k": -1, "up": -1, "page down": 10, "page up": -10}


@dataclass
class Controls:
    """The choices of the user. `sort` is the place of a column, None for the order of the flow."""

    sort: int | None = None
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    paused: bool = False
    help: bool = False
    scroll: int = 0
    quit: bool = False

    def press(self, key: str) -> None:
        """Take one key: a character, or `enter`, `escape`, `backspace`, `left`, `right`, `up`, `down` …."""
        if self.typing:
            self._type(key)
        elif key in ("?", "h"):
            self.help = not self.help
        elif self.help and key != "q":
            self.help = False
        elif key in _TURNS:
            places = [None, *range(len(COLUMNS))]
            self.sort = places[(places.index(self.sort) + _TURNS[key]) % len(places)]
        elif key in _SCROLLS:
            self.scroll = max(0, self.scroll + _SCROLLS[key])
        else:
            self._switch(key)

    def _switch(self, key: str) -> None:
        if key == "q":
            self.quit = True
        elif key == "r":
            self.reverse = not self.reverse
        elif key == "/":
            self.typing = True
        elif key in ("p", " "):
            self.paused = not self.paused
        elif key == "escape":
            self.filter = ""

    def _type(self, key: str) -> None:
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key
        self.scroll = 0
