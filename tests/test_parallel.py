"""Work cut into pieces: every item once, every piece done, every error heard."""

from contextlib import nullcontext
from functools import partial
from threading import get_ident
from typing import Any

import pytest

from qkvlab import _parallel
from qkvlab._parallel import in_parallel, one_processor, shares


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("counts", [(9, 3, 3), (18,), (96, 96), (1,), (0,), (0, 4)])
def test_shares_cover_every_item_once(counts: tuple[int, ...], workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parallel, "WORKERS", workers)
    cut = shares.__wrapped__(*counts, most=99)
    for run, count in enumerate(counts):
        assert [i for share in cut for i in range(count)[share[run]]] == list(range(count))
    sizes = [sum(len(range(n)[part]) for n, part in zip(counts, share, strict=True)) for share in cut]
    assert len(cut) <= workers
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


def test_at_most_so_many_shares() -> None:
    assert len(shares(100, most=0)) == len(shares(100, most=1)) == 1


def test_every_piece_is_done_though_one_fails() -> None:
    done: list[int] = []

    def piece(i: int) -> None:
        done.append(i)
        if i == 3:
            raise ZeroDivisionError(f"in {get_ident()}")

    with pytest.raises(ZeroDivisionError):
        in_parallel([partial(piece, i) for i in range(20)])
    assert sorted(done) == list(range(20 if _parallel.WORKERS > 1 else 4))


def test_on_one_processor_the_caller_does_every_piece_in_order() -> None:
    done: list[tuple[int, int]] = []

    def piece(i: int) -> None:
        done.append((i, get_ident()))

    with one_processor():
        with one_processor():
            pass
        in_parallel([partial(piece, i) for i in range(20)])
    assert done == [(i, get_ident()) for i in range(20)]


def test_after_it_others_help_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parallel, "WORKERS", 2)
    asked: list[Any] = []
    monkeypatch.setattr(_parallel, "_helpers", lambda: type("Inbox", (), {"put": staticmethod(asked.append)}))
    for alone in (True, False):
        with one_processor() if alone else nullcontext():
            in_parallel([lambda: None] * 2)
        assert len(asked) == (0 if alone else 1)
