"""What a server keeps in memory: within its budget, oldest out first, never what is in use."""

from typing import Any

import pytest

from qkvlab.edits import Mute
from qkvlab.errors import LimitError
from qkvlab.server.scheduler import WAIT
from qkvlab.server.traces import Traces, trace_bytes

TEXT = "The cat drank because it was thirsty"


def leased(traces: Traces, owner: object, model: Any, text: str, *edits: Any, size: int | None = None) -> Any:
    """One request: what is leased, traced and kept. Returns its last trace."""
    tokens = model.encode(text)
    with traces.lease(owner, size or trace_bytes(model, len(tokens)), keep=True) as lease:
        assert list(lease.granted()) == []
        for chosen in ((), edits)[: 2 if edits else 1]:
            trace = lease.trace(model, tokens, chosen).run()
    return trace


def test_the_estimate_covers_what_a_trace_keeps(smollm2: Any) -> None:
    for n in (7, 200):
        trace = smollm2.trace(ids=range(n)).run()
        kept = sum(rows.nbytes for rows in trace._kept.values())
        assert kept == pytest.approx(trace_bytes(smollm2, n), rel=0.1) or kept < trace_bytes(smollm2, n)


def test_the_same_state_is_the_same_trace(smollm2: Any) -> None:
    traces, person, other = Traces(), object(), object()
    plain = leased(traces, person, smollm2, TEXT)
    assert leased(traces, person, smollm2, TEXT) is plain
    assert leased(traces, other, smollm2, TEXT) is not plain
    edited = leased(traces, person, smollm2, TEXT, Mute(where="13.8", key=1))
    assert leased(traces, person, smollm2, TEXT, Mute(where="13.8", key=1)) is edited
    assert leased(traces, person, smollm2, TEXT) is plain


def test_the_next_text_shares_rows_with_the_last_among_many_people(smollm2: Any) -> None:
    traces, people = Traces(), [object() for _ in range(12)]
    for person in people:
        leased(traces, person, smollm2, TEXT)
    for person in people:
        assert leased(traces, person, smollm2, TEXT + " now")._starts[0] >= 7


def test_the_budget_holds_and_the_oldest_go_first(smollm2: Any) -> None:
    one = trace_bytes(smollm2, 7)
    traces, people = Traces(budget=5 * one), [object() for _ in range(9)]
    for person in people:
        leased(traces, person, smollm2, TEXT)
        assert traces.bytes <= traces.budget
    assert [len(traces.of(person)) for person in people] == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_a_request_over_the_budget_is_refused(smollm2: Any) -> None:
    traces = Traces(budget=1000)
    with pytest.raises(LimitError, match=r"would take about .* MiB .* shorten the text"):
        traces.lease(object(), 1001)


def test_a_request_waits_for_what_others_have_leased(smollm2: Any) -> None:
    traces = Traces(budget=1000)
    with traces.lease(object(), 600) as first:
        assert list(first.granted()) == []
        with traces.lease(object(), 600) as second:
            waiting = second.granted()
            assert next(waiting) is WAIT and next(waiting) is WAIT
            first.__exit__(None, None, None)
            assert list(waiting) == [] and traces.bytes == 600
    assert traces.bytes == 0


def test_what_a_busy_connection_kept_is_not_taken(smollm2: Any) -> None:
    one = trace_bytes(smollm2, 7)
    traces, busy, other = Traces(budget=3 * one), object(), object()
    kept = leased(traces, busy, smollm2, TEXT)
    with traces.lease(busy, one) as running:
        assert list(running.granted()) == []
        with traces.lease(other, 2 * one) as wants:
            assert next(wants.granted()) is WAIT
        assert traces.of(busy) == [kept]


def test_what_is_gone_is_forgotten(smollm2: Any, minilm: Any) -> None:
    traces, person, other = Traces(), object(), object()
    leased(traces, person, smollm2, TEXT)
    leased(traces, other, minilm, TEXT)
    traces.forget(model=minilm)
    assert traces.of(other) == [] and len(traces.of(person)) == 1
    traces.forget(owner=person)
    assert traces.bytes == 0


def test_a_cancelled_request_keeps_what_has_run(smollm2: Any) -> None:
    traces, person = Traces(), object()
    tokens = smollm2.encode(TEXT)
    with pytest.raises(GeneratorExit), traces.lease(person, 10**7, keep=True) as lease:
        list(lease.granted())
        lease.trace(smollm2, tokens, ()).run(3)
        raise GeneratorExit
    assert [trace.layers_done for trace in traces.of(person)] == [3]
