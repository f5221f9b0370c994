"""A field of characters with colours, and the shapes that charts are made of."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

COLOURS = (36, 33, 35, 32, 94, 91, 96, 93, 95, 92, 34, 31)
"""SGR codes of the series. They are readable on dark and light backgrounds."""
DIM = 2
MARKS = "*+ox#@%&=~:."
"""What the series are drawn with where neither colours nor braille tell them apart."""
_SHADES = "█▓▒░"
_ASCII_SHADES = "#=+-:.@%o*x~"
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of the dots in a braille character, by row and column."""

Point = tuple[float, float]
"""Shares of the width from the left and of the height from the bottom, both between 0 and 1."""
Style = tuple[int, ...]
"""SGR codes."""


class Canvas:
    """Characters in rows from the top, with the style of each."""

    def __init__(self, width: int, height: int, *, colour: bool, unicode: bool) -> None:
        self.width = width
        self.height = height
        self.colour = colour
        self.unicode = unicode
        self._characters = [[" "] * width for _ in range(height)]
        self._styles: list[list[Style]] = [[()] * width for _ in range(height)]
        self._dots: dict[tuple[int, int], int] = {}

    def put(self, column: int, row: int, character: str, style: Style = ()) -> None:
        """Write one character. Rows count from the top."""
        self._characters[row][column] = character
        self._styles[row][column] = style

    def rows(self) -> Iterator[str]:
        """Each row as text, with colours if there are any, without blanks at its end."""
        for characters, styles in zip(self._characters, self._styles, strict=True):
            cells = list(zip(characters, styles, strict=True))
            while cells and cells[-1][0] == " " and not cells[-1][1]:
                cells.pop()
            yield "".join(
                painted("".join(character for character, _ in run), style if self.colour else ())
                for style, run in itertools.groupby(cells, key=lambda cell: cell[1])
            )

    def level(self, at: float, style: Style) -> None:
        """A horizontal broken line over the whole width, behind everything drawn later."""
        row = self._row(at)
        for column in range(self.width):
            self.put(column, row, "╌" if self.unicode else "-", style)

    def lines(self, points: Iterable[Point | None], number: int, *, marks: bool) -> None:
        """Connected points of series `number`; None is a gap. With `marks` each line is of one character."""
        across, down = (self.width, self.height) if marks else (self.width * 2, self.height * 4)

        def place(point: Point) -> tuple[int, int]:
            return round(point[0] * (across - 1)), round((1 - point[1]) * (down - 1))

        draw = self._mark(number) if marks else self._dot(number)
        for run in _runs(points, place):
            for column, row in _line(run):
                draw(column, row)
            if len(run) == 1 and not marks:  # a single dot would be overlooked
                column, row = run[0][0] // 2 * 2, run[0][1] // 2 * 2
                for dot in itertools.product((column, column + 1), (row, row + 1)):
                    draw(*dot)

    def areas(self, columns: Sequence[Sequence[float]]) -> None:
        """Stacked areas: for each column the upper edges of the layers, as shares of the height."""
        for column, edges in enumerate(columns):
            if self.colour and self.unicode:
                self._column_of_eighths(column, edges)
                continue
            for row in range(self.height):
                middle = (self.height - row - 0.5) / self.height
                layer = next((number for number, edge in enumerate(edges) if edge > middle), None)
                if layer is not None:
                    self.put(column, row, shade_of(layer, len(edges), unicode=self.unicode))

    def _column_of_eighths(self, column: int, edges: Sequence[float]) -> None:
        heights = [round(edge * self.height * 8) for edge in edges]
        for row in range(self.height):
            bottom = (self.height - row - 1) * 8
            lower = next((number for number, height in enumerate(heights) if height > bottom), None)
            if lower is None:
                continue
            part = min(8, heights[lower] - bottom)
            upper = next((number for number, height in enumerate(heights) if height > bottom + part), None)
            behind = () if part == 8 or upper is None else (_background(upper),)  # noqa: PLR2004 - eighths
            self.put(column, row, _EIGHTHS[part], (colour_of(lower), *behind))

    def _row(self, at: float) -> int:
        return round((1 - at) * (self.height - 1))

    def _mark(self, number: int) -> Callable[[int, int], None]:
        return lambda column, row: self.put(column, row, mark_of(number), (colour_of(number),))

    def _dot(self, number: int) -> Callable[[int, int], None]:
        style = (colour_of(number),)

        def draw(column: int, row: int) -> None:
            cell = column // 2, row // 4
            self._dots[cell] = self._dots.get(cell, 0) | _DOTS[row % 4][column % 2]
            self.put(*cell, chr(_BRAILLE + self._dots[cell]), style)

        return draw


def colour_of(number: int) -> int:
    """The SGR code of a series."""
    return COLOURS[number % len(COLOURS)]


def mark_of(number: int) -> str:
    """The character of a series without braille."""
    return MARKS[number % len(MARKS)]


def shade_of(number: int, count: int, *, unicode: bool) -> str:
    """The character of a layer of `count` stacked areas without colours."""
    shades = _SHADES if unicode and count <= len(_SHADES) else _ASCII_SHADES
    return shades[number % len(shades)]


def painted(text: str, style: Style) -> str:
    """The text with SGR codes around it."""
    return f"\x1b[{';'.join(map(str, style))}m{text}\x1b[0m" if style else text


def _background(number: int) -> int:
    return colour_of(number) + 10


Place = tuple[int, int]


def _runs(points: Iterable[Point | None], place: Callable[[Point], Place]) -> Iterator[list[Place]]:
    """The connected places. Of those in one column only the first, the extremes and the last are kept."""
    for is_gap, run in itertools.groupby(points, key=lambda point: point is None):
        if is_gap:
            continue
        kept: list[Place] = []
        places = (place(point) for point in run if point is not None)
        for _, column in itertools.groupby(places, key=lambda at: at[0]):
            same = list(column)
            kept += (same[0], min(same), max(same), same[-1])
        yield list(dict.fromkeys(kept)) if len(set(kept)) == 1 else kept


def _line(places: Sequence[Place]) -> Iterator[Place]:
    """Every place on the lines between the places."""
    yield places[0]
    for (x1, y1), (x2, y2) in itertools.pairwise(places):
        steps = max(abs(x2 - x1), abs(y2 - y1))
        for step in range(1, steps + 1):
            yield x1 + round((x2 - x1) * step / steps), y1 + round((y2 - y1) * step / steps)
