from streamd.service.progress import Part, Progress

PATIENCE_S = 30.0
GAP_S = 6.0


class Watched:
    """A progress judge looked at in virtual time, every three seconds."""

    def __init__(self) -> None:
        self.progress = Progress(GAP_S)
        self.mono_s = 1000.0

    def look(self, *parts: Part, after_s: float = 3.0) -> list[str]:
        self.mono_s += after_s
        return self.progress.observe(parts, self.mono_s)

    def look_for(self, seconds: float, *parts: Part) -> list[str]:
        found: list[str] = []
        for _ in range(round(seconds / 3)):
            found = self.look(*parts)
        return found


def part(state: object, *, due: bool = True, name: str = "sink a") -> Part:
    return Part(name, "a commit has been under way", due, state, PATIENCE_S)


def test_what_stands_still_is_told_once_patience_is_over() -> None:
    watched = Watched()
    assert watched.look(part(1)) == []
    assert watched.look_for(30, part(1)) == []
    assert watched.look(part(1)) == ["sink a: a commit has been under way for 33 s"]


def test_what_moves_is_left_alone_however_slowly() -> None:
    watched = Watched()
    for state in range(20):
        assert watched.look_for(27, part(state)) == []


def test_what_has_nothing_to_do_is_left_alone() -> None:
    watched = Watched()
    assert watched.look_for(300, part(1, due=False)) == []
    assert watched.look_for(30, part(1)) == [], "its time begins when it has to do something"


def test_it_is_forgiven_as_soon_as_it_goes_on() -> None:
    watched = Watched()
    assert watched.look_for(60, part(1))
    assert watched.look(part(2)) == []


def test_one_that_stands_still_is_told_beside_one_that_moves() -> None:
    watched = Watched()
    found: list[str] = []
    for state in range(20):
        found = watched.look(part(0), part(state, name="sink b"))
    assert [line.split(":")[0] for line in found] == ["sink a"]


def test_time_in_which_the_process_was_stopped_is_not_held_against_a_part() -> None:
    watched = Watched()
    watched.look(part(1))
    assert watched.look(part(1), after_s=3600) == []


def test_a_part_that_went_away_is_forgotten() -> None:
    watched = Watched()
    watched.look_for(27, part(1))
    watched.look()
    assert watched.look_for(27, part(1)) == []
