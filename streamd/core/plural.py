"""A number with its noun."""


def counted(n: int, one: str, many: str = "") -> str:
    """`1 value`, `2 values`; `many` is the plural of a noun that does not only add an s."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"
