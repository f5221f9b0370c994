"""What follows from the terms that a book declares."""

from collections import Counter
from typing import Annotated

from streamd.core.books import SUMS, FrameBook
from streamd.core.sums import Book, Entry, Left, Term, equation


class Parcels(Book):
    """A sum of our own, with a term of each side."""

    unit = noun = "parcels"
    keys = ("source", "pipeline")

    came: Annotated[int, Term("in", "parcels that came", name="in")]
    returned: Annotated[Counter[str], Term("in", "parcels that came back", "carrier")]
    sent: Annotated[int, Term("out", "parcels that went out")]
    heavy: Annotated[int, Term("part", "sent parcels over 20 kg")]
    dropped: Annotated[Counter[str], Term("out", "parcels that were lost", "reason")]
    stacked = Left("parcels in the hall")


def parcels() -> Parcels:
    book = Parcels("lab", "main")
    book.came, book.sent, book.heavy = 100, 60, 7
    book.returned.update({"post": 8, "ship": 2})
    book.dropped["rain"] = 5
    return book


def test_the_derived_term_is_all_that_came_less_all_that_went_and_a_part_counts_once() -> None:
    assert parcels().stacked == parcels().left == 100 + 10 - 60 - 5


def test_the_terms_stand_in_the_order_in_which_they_are_declared_and_the_derived_one_is_last() -> None:
    assert [term.name for term in Parcels.terms] == ["in", "returned", "sent", "heavy", "dropped", "stacked"]
    assert equation(Parcels) == "in + returned = sent + dropped + stacked"


def test_each_number_is_an_entry_under_the_name_that_users_read() -> None:
    assert list(parcels().entries()) == [
        Entry("lab", "main", "", "in", "", 100),
        Entry("lab", "main", "", "returned", "post", 8),
        Entry("lab", "main", "", "returned", "ship", 2),
        Entry("lab", "main", "", "sent", "", 60),
        Entry("lab", "main", "", "heavy", "", 7),
        Entry("lab", "main", "", "dropped", "rain", 5),
        Entry("lab", "main", "", "stacked", "", 45),
    ]
    assert parcels().numbers()["returned"] == {"post": 8, "ship": 2}


def test_two_books_add_up_term_by_term() -> None:
    total = parcels()
    total.add(parcels())
    assert total.numbers() == {
        "in": 200,
        "returned": {"post": 16, "ship": 4},
        "sent": 120,
        "heavy": 14,
        "dropped": {"rain": 10},
        "stacked": 90,
    }


def test_giving_up_what_is_left_balances_a_sum_and_hides_none_that_is_below_zero() -> None:
    book = parcels()
    assert book.give_up("shutdown") == 45
    assert book.dropped == {"rain": 5, "shutdown": 45}
    book.came += 2
    assert book.give_up("shutdown") == 2
    assert book.dropped == {"rain": 5, "shutdown": 47}
    book.sent += 3  # counted twice
    assert book.give_up("shutdown") == 0
    assert book.left == -3


def test_no_two_sums_share_a_unit_and_every_term_says_what_it_means() -> None:
    assert len({book.unit for book in SUMS}) == len(SUMS)
    meanings = [term.meaning for book in SUMS for term in book.terms]
    assert all(meanings)
    assert len(set(meanings)) == len(meanings)
    assert FrameBook.terms[-1].side == "left"
