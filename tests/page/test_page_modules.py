"""The judgement, the history, the sums and the texts of the page, from documents made here."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from tests.e2e.conftest import Daemon
from tests.page.conftest import CONFIG, TIMEOUT_MS, Shown

STARTED_S = 1_700_000_000


@pytest.fixture(scope="module")
def run(browser: Any, start_once: Callable[..., Daemon]) -> Iterator[Callable[..., Any]]:
    """Runs the body of a function of JavaScript with one argument; `load(name)` imports a module."""
    with browser.new_context(timezone_id="UTC") as context:
        context.set_default_timeout(TIMEOUT_MS)
        found = Shown(context.new_page(), start_once(CONFIG))
        found.open()

        def evaluate(body: str, argument: Any = None) -> Any:
            load = "const load = (name) => import(`/page/${name}.js`);"
            return found.page.evaluate(f"async (given) => {{ {load} {body} }}", argument)

        yield evaluate


def status(**changes: Any) -> dict[str, Any]:
    """A healthy daemon with one source, pipeline and sink."""
    buffer = {"records": 0, "max_records": 1000, "bytes": 0, "max_bytes": 10_000, "full": False}
    return {
        "seq": 20, "run_id": "a", "phase": "running", "started_at": "2023-11-14T22:13:20+00:00",
        "uptime_s": 20.0, "ready": True, "reasons": [], "balanced": True, "imbalances": [],
        "reload_failure": None, "outlook": [],
        "sources": [{"name": "lab", "listening": [], "buffer": buffer, "frames": frames()}],
        "pipelines": [{"name": "main", "source": "lab", "records": {
            "in": 2000, "out": 1900, "filtered": 100, "rejected": {}, "dropped": {}, "in_flight": 0}}],
        "sinks": [{"name": "rows", "state": "ok", "reason": None, "retrying_for_s": None, "buffer": buffer,
            "deliveries": [{"pipeline": "main", "source": "lab", "records": {
                "offered": 1900, "stored": 1900, "rejected": 0, "dropped": {}, "pending": 0}}]}],
        "stages": [], "steps": [],
    } | changes  # fmt: skip


def frames(received: int = 2000, **more: Any) -> dict[str, Any]:
    lost = sum(more.get("dropped", {}).values())
    return {
        "received": received,
        "decoded": received - lost,
        "rejected": {},
        "dropped": {},
        "waiting": 0,
    } | more


def history(*counts: dict[str, Any]) -> list[dict[str, Any]]:
    """Documents of successive seconds with these frame books, ending at second 20."""
    found = []
    for i, book in enumerate(counts):
        one = status(seq=20 - len(counts) + 1 + i)
        one["sources"][0]["frames"] = book
        found.append(one)
    return found


JUDGE = """
    const { judge } = await load("health");
    const { History } = await load("history");
    const history = new History();
    for (const one of given.history) history.append(one, given.at + one.seq);
    return judge({ status: given.status, history, connection: given.connection });
"""


@pytest.fixture(scope="module")
def judge(run: Callable[..., Any]) -> Callable[..., Any]:
    def judged(
        now: dict[str, Any] | None, past: list[dict[str, Any]], **connection: Any
    ) -> tuple[str, str, str]:
        state = {"state": "live", "why": "", "ageS": 0} | connection
        given = {"status": now, "history": past, "connection": state, "at": STARTED_S}
        found = run(JUDGE, given)
        return found["level"], found["word"], " · ".join(found["parts"])

    return judged


STEADY = [frames(n * 100) for n in range(1, 21)]


def test_a_healthy_daemon_is_said_to_be_healthy_with_its_rate_and_reserve(judge: Callable[..., Any]) -> None:
    level, word, parts = judge(status(), history(*STEADY))
    assert (level, word) == ("good", "Healthy")
    assert parts == "100/s in · nothing lost since 2023-11-14 22:13 · buffers hold 10 s"


def test_a_reserve_is_what_fits_into_the_source_buffer(judge: Callable[..., Any]) -> None:
    now = status()
    now["sources"][0]["buffer"] |= {"records": 600}
    assert judge(now, history(*STEADY))[2].endswith("buffers hold 4.0 s")
    small = deepcopy(now["sources"][0]) | {"name": "small", "frames": frames()}
    small["buffer"]["max_records"] = 700
    two = status(sources=[*now["sources"], small])
    past = [
        one | {"sources": [one["sources"][0], one["sources"][0] | {"name": "small"}]}
        for one in history(*STEADY)
    ]
    assert judge(two, past)[2].endswith("buffers hold 1.0 s")
    assert "hold" not in judge(now, history(*[frames(100)] * 20))[2]  # nothing comes in


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"phase": "draining", "ready": False}, "warn", "draining"),
        ({"ready": False, "reasons": ["sink rows hangs"]}, "bad", "not ready: sink rows hangs"),
        ({"balanced": False, "imbalances": ["lab: waiting is -3"]}, "bad", "balance: lab: waiting is -3"),
        ({"reload_failure": {"at": "", "why": ["line 3: no"]}}, "warn", "the newest reload failed"),
    ],
)
def test_a_fault_of_the_daemon_is_said_first(
    judge: Callable[..., Any], changes: dict[str, Any], level: str, said: str
) -> None:
    found = judge(status(**changes), history(*STEADY))
    assert found[0] == level
    assert said in found[2].split(" · ")[0]


def outlook(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "source", "name": "lab", "overflow_expected": False, "standing_queue": False,
        "full_in_s": None, "min_sojourn_s": 0.5, "forecast": "yes",
    } | changes  # fmt: skip


def test_an_expected_overflow_is_trouble_before_anything_is_lost(judge: Callable[..., Any]) -> None:
    expected = outlook(overflow_expected=True, full_in_s={"low": 9, "median": 12, "high": None})
    level, _, parts = judge(status(outlook=[expected]), history(*STEADY))
    assert level == "bad"
    assert parts.startswith("source lab will be full in 12 s · 100/s in")
    full = outlook(overflow_expected=True, full_in_s={"low": 0, "median": 0, "high": 0})
    assert judge(status(outlook=[full]), history(*STEADY))[2].startswith("source lab is full · 100/s in")


def test_a_standing_queue_and_a_sink_that_retries_ask_for_attention(judge: Callable[..., Any]) -> None:
    now = status(outlook=[outlook(standing_queue=True)])
    now["sinks"][0] |= {"state": "retrying", "reason": "disk full", "retrying_for_s": 7.0}
    level, word, parts = judge(now, history(*STEADY))
    assert (level, word) == ("warn", "Attention")
    assert "source lab has a standing queue of 500 ms" in parts
    assert "rows retries for 7.0 s: disk full" in parts


@pytest.mark.parametrize("loss", [{"dropped": {"buffer_full": 30}}, {"kernel_dropped": 30}])
def test_a_loss_is_trouble_while_it_lasts_and_remembered_later(
    judge: Callable[..., Any], loss: dict[str, Any]
) -> None:
    now = status()
    now["sources"][0]["frames"] = frames(2000, **loss)
    losing = [*STEADY[:-1], frames(2000, **loss)]
    level, _, parts = judge(now, history(*losing))
    assert (level, parts.split(" · ")[0]) == ("bad", "losing 6/s")  # over five seconds
    assert "30 lost since the start" in parts
    long_ago = [*STEADY[:5], *[frames(n * 100, **loss) for n in range(6, 21)]]
    level, _, parts = judge(now, history(*long_ago))
    assert level == "good"
    assert "nothing lost since 22:13:26 (30 before)" in parts
    before_all = [frames(n * 100, **loss) for n in range(1, 21)]
    assert "nothing lost in the last minutes (30 since the start)" in judge(now, history(*before_all))[2]


def test_old_figures_are_never_called_healthy(judge: Callable[..., Any]) -> None:
    past = history(*STEADY)
    level, word, parts = judge(status(), past, state="stale", ageS=4.6)
    assert (level, word) == ("away", "Stale")
    assert parts.startswith("no news from the daemon for 4.0 s")
    level, word, parts = judge(status(), past, state="gone", why="it closed the connection", ageS=65)
    assert (level, word) == ("bad", "The daemon is gone")
    assert parts == "it closed the connection · the figures below are 65 s old · trying again"
    assert judge(None, [], state="connecting")[:2] == ("away", "Connecting")


HISTORY = """
    const { History } = await load("history");
    const figures = await load("figures");
    const history = new History();
    for (const [how, one] of given) {
        if (how === "load") history.load(one);
        else history.append(one, 5000);
    }
    return {
        seq: history.seq, at: history.atS, received: history.rate(figures.received),
        level: history.level((one) => one.of === "buffer_records"), now: history.rateNow(figures.received),
        lost: history.rate(figures.lost), reasons: history.reasons(figures.overflowed),
    };
"""


def received(count: int, seq: int) -> dict[str, Any]:
    """The status of a second, with so many received frames."""
    one = status(seq=seq)
    one["sources"][0]["frames"] = frames(count)
    return one


def past(seq: int, *received: float | None) -> dict[str, Any]:
    values = list(received)
    one = {
        "kind": "source",
        "name": "lab",
        "of": "received",
        "reason": "",
        "type": "counter",
        "values": values,
    }
    stage = {
        "kind": "stage",
        "name": "sink rows",
        "of": "busy",
        "reason": "",
        "type": "gauge",
        "values": values,
    }
    at_wall_s = [STARTED_S + seq - len(values) + 1 + i for i in range(len(values))]
    return {"seq": seq, "interval_s": 1.0, "at_wall_s": at_wall_s, "series": [one, stage]}


def test_the_history_of_the_daemon_is_continued_by_its_events(run: Callable[..., Any]) -> None:
    one = status(seq=14)
    one["sources"][0]["frames"] = frames(800, dropped={"buffer_full": 5})
    found = run(HISTORY, [("load", past(12, 100, 200, 400)), ("append", one)])
    assert found["seq"] == [10, 11, 12, 14]
    assert found["at"] == [STARTED_S + n for n in (10, 11, 12, 14)]
    assert found["received"] == [None, 100, 200, 200]  # the rate of a second, also over the gap
    assert found["lost"][-1] == 2.5
    assert found["reasons"] == ["buffer_full"]
    assert found["level"] == [None, None, None, 0]


def test_a_gap_is_filled_once(run: Callable[..., Any]) -> None:
    first, again = past(12, 100, 200, 400), past(15, 400, 500, 600, 700)
    found = run(HISTORY, [("load", first), ("load", again), ("load", again), ("append", status(seq=15))])
    assert found["seq"] == [10, 11, 12, 13, 14, 15]
    assert found["received"] == [None, 100, 200, 100, 100, 100]


def test_a_total_that_the_daemon_left_out_is_no_growth_of_one_second(run: Callable[..., Any]) -> None:
    first, later = status(seq=13), status(seq=14)
    for one, lost in ((first, 5000), (later, 5007)):
        one["sources"][0]["frames"] = frames(400, dropped={"buffer_full": lost})
    known = past(12, 100, 200, 400)
    steps = [("load", known | {"left_out": 3}), ("append", first), ("append", later)]
    assert run(HISTORY, steps)["lost"] == [None, 0, 0, 0, 7]
    gap = status(seq=18)
    gap["sources"][0]["frames"] = frames(400, dropped={"buffer_full": 5047})
    found = run(HISTORY, [*steps, ("load", past(17, 400, 400, 400) | {"left_out": 3}), ("append", gap)])
    assert found["lost"] == [None, 0, 0, 0, 7, 10, 10, 10, 10]
    assert run(HISTORY, [("load", known), ("append", first)])["lost"][-1] == 5000  # it began in this second


def test_a_tap_names_the_fields_that_no_record_had(run: Callable[..., Any]) -> None:
    said = "return (await load('tap')).summary(given);"
    assert run(said, {"shown": 0, "skipped": 1200}) == "0 shown · 1,200 skipped"
    unseen = {"shown": 0, "skipped": 0, "unseen": ["vlaue", "x"]}
    assert run(said, unseen).endswith(" · no record had vlaue, x when it was looked for")


def test_a_table_aligns_numbers_and_keeps_times_on_one_line(run: Callable[..., Any]) -> None:
    cells = run(
        """const { DataTable } = await load('data_table');
        const root = document.createElement('div');
        const table = new DataTable(root, { caption: 'x', empty: '', times: true, digits: 3 });
        table.show(['n', 'none', 'at', 'share'], [[1, null, '2026-01-31T08:00:00.000000Z', 0.868403]]);
        return [...root.querySelectorAll('td')].map((cell) => [cell.className, cell.textContent]);"""
    )
    assert cells[:2] == [["number", "1"], ["", "\u2013"]]
    assert cells[2][0] == "moment"
    assert cells[3] == ["number", "0.868"]


def test_older_letters_are_counted_up_to_a_number(run: Callable[..., Any]) -> None:
    said = "return (await load('letters')).leftOut(given);"
    assert run(said, 1234) == "and 1,234 older"
    assert run(said, 10_000) == "and 10,000 or more older"


def test_the_fates_of_a_replay_are_said_in_words(run: Callable[..., Any]) -> None:
    said = "return (await load('letters')).replayed(given);"
    none = {"letters": 1, "stored": 0, "rejected": 0, "held": 0, "held_by": {}, "why_impossible": {}}
    assert run(said, none | {"stored": 1}) == "1 stored, and no longer here"
    assert run(said, none | {"rejected": 1}).startswith("1 rejected again: here with the new reason")
    assert run(said, none | {"impossible": 1, "why_impossible": {"its source is gone": 1}}) == (
        "1 cannot be replayed; its source is gone"
    )
    assert run(said, none | {"letters": 0}) == "there is no such dead letter any more"


def test_a_second_without_a_value_is_no_loss_of_counters(run: Callable[..., Any]) -> None:
    found = run(HISTORY, [("load", past(5, 0, 50, None, 0, 80))])
    assert found["received"] == [None, 50, 0, 0, 80]
    assert found["now"] == pytest.approx(130 / 4)


def test_a_total_that_appears_in_the_history_is_no_growth(run: Callable[..., Any]) -> None:
    known = past(13, None, None, 5000, 5007)
    found = run(HISTORY, [("load", known), ("append", received(5010, seq=14))])
    assert found["received"] == [None, 0, 0, 7, 3]
    assert found["now"] == pytest.approx(10 / 4)
    again = past(17, 5000, 5000, 5000, 5000)
    again["series"][0]["name"] = "floor"  # it was left out until a reload removed another one
    found = run(HISTORY, [("load", past(13, 1, 2, 3, 4) | {"left_out": 1}), ("load", again)])
    assert found["received"] == [None, 1, 1, 1, 0, 0, 0, 0]


def test_a_counter_that_begins_after_a_whole_sample_was_zero_before(run: Callable[..., Any]) -> None:
    later = past(16, 0, 12)
    later["series"][0]["name"] = "floor"
    steps = [("load", past(13, 1, 2)), ("append", received(2, seq=14)), ("load", later)]
    assert run(HISTORY, steps)["received"] == [None, 1, 0, 0, 12]


def test_the_history_keeps_ten_minutes(run: Callable[..., Any]) -> None:
    found = run(HISTORY, [("load", past(600, *range(600))), ("append", status(seq=601))])
    assert (len(found["seq"]), found["seq"][0], found["seq"][-1]) == (600, 2, 601)
    assert len(found["received"]) == len(found["level"]) == 600


VERDICT = "return (await load('sums')).verdict(given);"


def test_books_that_do_not_sum_to_zero_are_shown_as_such(run: Callable[..., Any]) -> None:
    assert run(VERDICT, status())["level"] == "good"
    assert run(VERDICT, status(balanced=False, imbalances=["lab: -1"])) == {
        "level": "bad", "text": "✕ The books do not balance: lab: -1",
    }  # fmt: skip
    for change in (
        {"decoded": 1999},
        {"dropped": {"buffer_full": 1}},
        {"held": 1},
        {"rejected": {"json": 1}},
    ):
        wrong = deepcopy(status())
        wrong["sources"][0]["frames"] |= change
        assert run(VERDICT, wrong)["level"] == "bad", change
    two = deepcopy(status())  # one book has one too many, the other one too few
    two["sources"][0]["frames"] |= {"decoded": 1999}
    two["sources"].append(
        {**deepcopy(two["sources"][0]), "name": "floor", "frames": frames() | {"decoded": 2001}}
    )
    assert run(VERDICT, two)["level"] == "bad"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("count(1234567)", "1,234,567"), ("count(null)", "\u2013"), ("rate(0)", "0/s"),
        ("rate(3.25)", "3.3/s"),
        ("rate(48210.4)", "48,210/s"), ("percent(0.004)", "<1 %"), ("percent(0.997)", ">99 %"),
        ("percent(1)", "100 %"), ("percent(0.5)", "50 %"), ("bytes(1023)", "1023 B"),
        ("bytes(1536)", "1.5 KiB"),
        ("bytes(67108864)", "64.0 MiB"), ("duration(0.0004)", "<1 ms"), ("duration(0.42)", "420 ms"),
        ("duration(9.96)", "10.0 s"), ("duration(119.6)", "2 min 00 s"), ("duration(3601)", "60 min 01 s"),
        ("duration(7260)", "2 h 01 min"), ("duration(259200)", "3 days"), ("duration(0)", "0 s"),
        ("short(12500)", "12.5 k"), ("short(9999)", "9,999"), ("measure(0.123456789)", "0.123457"),
        ("measure(0.868403, 3)", "0.868"), ("measure(2994, 3)", "2,994"),
        ("value('<b>')", "<b>"), ("value({a: [1]})", '{"a":[1]}'), ("value(false)", "false"),
    ],
)  # fmt: skip
def test_numbers_have_units_and_fixed_forms(run: Callable[..., Any], call: str, text: str) -> None:
    assert run(f"return (await load('format')).{call};") == text


def test_what_the_history_of_the_daemon_leaves_out_is_said(run: Callable[..., Any]) -> None:
    found = run(
        """
        const { Charts } = await load("charts");
        const { History } = await load("history");
        const root = document.createElement("div");
        const charts = new Charts(root, { say: () => {}, redraw: () => {} });
        const seen = () => {
            charts.update({ history });
            const note = root.querySelector(":scope > .note");
            return [note.hidden, note.textContent.includes("leaves out 1,203 series")];
        };
        const history = new History();
        const before = seen();
        history.load({ seq: 1, at_wall_s: [], series: [], left_out: 1203 });
        const after = seen();
        history.clear();
        return [before, after, history.leftOut];
        """
    )
    assert found == [[True, False], [False, True], 0]
