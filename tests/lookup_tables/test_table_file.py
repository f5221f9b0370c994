import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from streamd.core.counters import Counters
from streamd.lookup_tables.table import Rows, TableFault, TableSettings, read_table
from streamd.lookup_tables.table_file import TableFile

DEADLINE_S = 20.0
READ = "streamd.lookup_tables.table_file.read_table"


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def file_of(path: Path, table: str | None = None) -> TableFile:
    settings = TableSettings(path, table, ("id",), ("site",))
    return TableFile(settings, 5.0, Counters())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sites.csv"
    path.write_text("id,site\na,roof\n")
    os.utime(path, (0, 0))  # a change within the same tick of the kernel's clock would show the same time
    return path


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(path: Path) -> None:
    file = file_of(path)
    file.open()
    before = file.rows
    file.check()
    assert file.rows is before == {"a": ("roof",)}
    replace(path, "id,site\na,yard\nb,hall\n")
    file.check()
    assert file.rows == {"a": ("yard",), "b": ("hall",)}
    assert file._counters.numbers() == {"reads": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("id,place\n", "columns"), ("id,site\na\n", "rows"), ("id,site\na,1\na,2\n", "duplicate")],
)
def test_a_wrong_file_leaves_the_old_table_and_is_read_once(path: Path, text: str, reason: str) -> None:
    file = file_of(path)
    file.open()
    replace(path, text)
    for _ in range(3):
        file.check()
        assert file.rows == {"a": ("roof",)}
    assert file._counters.numbers() == {"reads": 1, "failed_reads": {reason: 1}}
    replace(path, "id,site\na,mended\n")
    file.check()
    assert file.rows == {"a": ("mended",)}


def test_a_missing_file_is_tried_again(path: Path) -> None:
    file = file_of(path)
    file.open()
    text = path.read_text()
    path.unlink()
    file.check()
    file.check()
    assert file.rows == {"a": ("roof",)}
    assert file._counters.numbers()["failed_reads"] == {"missing": 2}
    path.write_text(text.replace("roof", "back"))
    file.check()
    assert file.rows == {"a": ("back",)}


def test_the_log_has_the_first_failure_of_each_reason_and_the_end_of_the_trouble(path: Path) -> None:
    file = file_of(path)
    file.open()
    with capture_logs() as logs:
        path.unlink()
        for _ in range(3):
            file.check()
        replace(path, "id,place\n")
        file.check()
        replace(path, "id,site\na,mended\n")
        file.check()
        replace(path, "id,site\na,yard\nb,hall\n")
        file.check()
    where = {"file": str(path)}
    for line in logs[:2]:
        assert str(path) in line.pop("error")
    assert logs == [
        {"event": "table_not_read", "log_level": "warning", "reason": "missing", **where},
        {"event": "table_not_read", "log_level": "warning", "reason": "columns", **where},
        {"event": "table_read", "log_level": "info", "rows": 1, **where},
    ]


def test_a_file_that_changes_while_it_is_read_is_not_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(path)
    file.open()
    replace(path, "id,site\na,half\n")

    def read_and_change(settings: TableSettings) -> Rows:
        rows = read_table(settings)
        monkeypatch.undo()
        replace(path, "id,site\na,whole\n")
        return rows

    monkeypatch.setattr(READ, read_and_change)
    file.check()
    assert file.rows == {"a": ("roof",)}
    assert file._counters.numbers()["failed_reads"] == {"changing": 1}
    file.check()
    assert file.rows == {"a": ("whole",)}


def test_a_commit_into_the_log_of_sqlite_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "sites.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (id, site)")
        writer.execute("INSERT INTO t VALUES ('a', 'roof')")
        writer.commit()
        file = file_of(path, "t")
        file.open()
        main = path.stat()
        writer.execute("UPDATE t SET site = 'yard'")
        writer.commit()
        assert path.stat() == main
        file.check()
    assert file.rows == {"a": ("yard",)}


def wait_for_site(file: TableFile, site: str, now_s: float) -> None:
    end = time.monotonic() + DEADLINE_S
    while file.rows != {"a": (site,)}:
        assert time.monotonic() < end
        file.look(now_s)
        time.sleep(0.001)


def test_it_looks_in_a_thread_once_in_its_interval(path: Path) -> None:
    file = file_of(path)
    file.open()
    replace(path, "id,site\na,yard\n")
    for now_s in (100.0, 104.999):
        file.look(now_s)
        assert file._checking is None
    wait_for_site(file, "yard", 105.0)
    replace(path, "id,site\na,hall\n")
    file.look(109.999)
    assert file._checking is not None
    file._checking.join()
    assert file.rows == {"a": ("yard",)}
    wait_for_site(file, "hall", 110.0)


def test_a_batch_keeps_its_table_while_another_is_read(path: Path) -> None:
    file = file_of(path)
    file.open()
    replace(path, "id,site\na,yard\n")
    with file.lock:
        rows = file.rows
        assert rows is not None
        checking = threading.Thread(target=file.check)
        checking.start()
        checking.join(0.05)
        assert rows == {"a": ("roof",)}
        assert file.rows is rows
    checking.join()
    assert file.rows == {"a": ("yard",)}
    assert rows == {}  # its memory is freed


def test_what_is_read_after_the_close_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(path)
    file.open()
    replace(path, "id,site\na,yard\n")

    def read_and_close(settings: TableSettings) -> Rows:
        file.close()
        return read_table(settings)

    monkeypatch.setattr(READ, read_and_close)
    file.check()
    assert file.rows is None
    monkeypatch.undo()
    file.open()
    assert file.rows == {"a": ("yard",)}


def test_it_opens_once(path: Path) -> None:
    file = file_of(path)
    file.open()
    path.unlink()
    file.open()
    assert file.rows == {"a": ("roof",)}
    file.close()
    with pytest.raises(TableFault, match="No such file"):
        file.open()
