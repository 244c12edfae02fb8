"""Loudness by the standard's own numbers; trimming, joining and limiting by hand; MP3 whose times are exact."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab._shapes import Array, Float
from qkvlab.course.sound import (
    AFTER,
    BEFORE,
    CEILING,
    KBITS,
    LOUDNESS,
    joined,
    lag,
    levelled,
    limited,
    loudness,
    speech,
    trimmed,
    write_mp3,
)

RATE = 24_000


def sine(seconds: float, frequency: float = 997.0, rate: int = RATE) -> Float[Array, " n"]:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [48_000, 44_100, RATE])
def test_the_standards_sine(rate: int) -> None:
    """BS.1770-4, annex 1: a sine of 997 Hz at full scale in one channel reads -3.01."""
    assert loudness(sine(3.0, rate=rate), rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(0.1 * sine(3.0, rate=rate), rate) == pytest.approx(-23.01, abs=0.05)


def test_high_tones_are_louder_and_deep_ones_less() -> None:
    assert loudness(sine(3.0, 6000.0), RATE) == pytest.approx(-3.01 + 3.3, abs=0.3)
    assert loudness(sine(3.0, 30.0), RATE) < -10.0


def test_silence_does_not_count() -> None:
    alone, with_pause = sine(3.0), np.concatenate([sine(3.0), np.zeros(20 * RATE)])
    assert loudness(with_pause, RATE) == pytest.approx(loudness(alone, RATE), abs=0.5)
    with pytest.raises(ValueError, match="too quiet"):
        loudness(np.zeros(RATE), RATE)


def test_speech_is_found_and_trimmed() -> None:
    wave = np.concatenate([np.zeros(7200), 0.5 * sine(0.5), np.zeros(9600)])
    assert speech(wave, RATE) == (7200, 19200)
    assert len(trimmed(wave, RATE)) == 12_000 + round((BEFORE + AFTER) * RATE)
    with pytest.raises(ValueError, match="nothing is heard"):
        speech(np.zeros(RATE), RATE)


def test_joined_lie_where_it_says() -> None:
    wave, places = joined([np.full(5, 0.5), np.full(3, 0.25)], [0.2, 0.7], 0.3, 10)
    assert places == [(2, 7), (14, 17)]
    np.testing.assert_array_equal(wave, [0, 0, *[0.5] * 5, *[0] * 7, *[0.25] * 3, 0, 0, 0])


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=60), st.integers(0, 7))
def test_no_sample_over_the_ceiling(samples: list[float], reach: int) -> None:
    wave = np.array(samples)
    out = limited(wave, reach)
    assert len(out) == len(wave)
    assert np.all(np.abs(out) <= CEILING * (1 + 1e-12))
    assert np.all(np.abs(out) <= np.abs(wave) * (1 + 1e-12))
    if np.all(np.abs(wave) <= CEILING):
        np.testing.assert_allclose(out, wave, rtol=1e-12)


def test_a_peak_is_turned_down_around_itself_only() -> None:
    wave = np.full(1001, 0.5)
    wave[500] = 1.6
    out = limited(wave, 20)
    assert out[500] == pytest.approx(CEILING)
    np.testing.assert_allclose(np.delete(out, range(460, 541)), 0.5)


def test_at_the_stated_level() -> None:
    out = levelled(0.01 * sine(3.0), RATE)
    assert loudness(out, RATE) == pytest.approx(LOUDNESS, abs=0.01)


@pytest.mark.parametrize("late", [0, 5, 1105, -331])
def test_lag_is_seen(late: int) -> None:
    noise = np.random.default_rng(7).normal(size=5003)
    heard = np.roll(np.concatenate([noise, np.zeros(2000)]), late)
    assert lag(noise, heard) == late


def test_an_mp3_gives_back_every_sample_in_its_place(tmp_path: Path) -> None:
    import soundfile

    wave = np.concatenate([np.zeros(RATE), *[np.concatenate([0.3 * sine(0.41), np.zeros(6007)]) for _ in range(5)]])
    write_mp3(tmp_path / "a.mp3", wave, RATE)
    write_mp3(tmp_path / "b.mp3", wave, RATE)
    heard, rate = soundfile.read(tmp_path / "a.mp3")
    assert (rate, heard.shape) == (RATE, wave.shape)
    assert abs(lag(wave, heard)) <= 5
    assert (tmp_path / "a.mp3").stat().st_size * 8 / (len(wave) / RATE) == pytest.approx(KBITS * 1000, rel=0.05)
    assert (tmp_path / "a.mp3").read_bytes() == (tmp_path / "b.mp3").read_bytes()


def test_a_clipping_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clips"):
        write_mp3(tmp_path / "a.mp3", np.sign(sine(1.0, 441.0)), RATE)


def test_a_low_bit_rate_would_run_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why KBITS is what it is: below, the decoder cannot know the encoder's delay."""
    monkeypatch.setattr("qkvlab.course.sound.KBITS", 40)
    with pytest.raises(ValueError, match=r"11\d\d late"):
        write_mp3(tmp_path / "a.mp3", 0.3 * np.random.default_rng(7).normal(size=RATE), RATE)
