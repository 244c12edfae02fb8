"""Sentences' samples → one recording: trimmed, joined with pauses, at one loudness, as an MP3 whose times are exact."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._shapes import Array, Float

LOUDNESS = -20.0
"""What a recording is brought to, in LUFS (ITU-R BS.1770-4), mono: a usual level of speech on the web.

The encoder takes half a decibel off (it scales by 0.95)."""
CEILING = 0.8
"""No sample is larger; what the MP3 adds to it stays below 1."""
KBITS = 64
"""Constant, so that seeking is exact. At less, a frame is too short for LAME's note of its own delay (1,105 samples),
and players would run 46 ms late."""
FRAME = 0.01
"""Seconds in which energy is measured."""
QUIET = 10 ** (-40 / 20)
"""A frame is silent below this share of the loudest one."""
BEFORE, AFTER, FADE = 0.02, 0.08, 0.01
"""Seconds kept around the speech, and how long it takes to come in and go out."""


def energy(wave: Float[Array, " n"], rate: int) -> Float[Array, " frames"]:
    """Root mean square of every 10 ms."""
    size = round(FRAME * rate)
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    return np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1))


def speech(wave: Float[Array, " n"], rate: int) -> tuple[int, int]:
    """First and last sample (exclusive) of what is not silence. Raises ValueError if all of it is."""
    loud = energy(wave, rate)
    heard = np.flatnonzero(loud > QUIET * loud.max(initial=0.0))
    if not len(heard):
        raise ValueError("nothing is heard in this sentence")
    size = round(FRAME * rate)
    return int(heard[0]) * size, (int(heard[-1]) + 1) * size


def trimmed(wave: Float[Array, " n"], rate: int) -> Float[Array, " m"]:
    """The speech alone, with a breath around it, faded in and out."""
    first, last = speech(wave, rate)
    part = np.array(wave[max(0, first - round(BEFORE * rate)) : last + round(AFTER * rate)], np.float64)
    ramp = np.linspace(0.0, 1.0, min(round(FADE * rate), len(part)))
    part[: len(ramp)] *= ramp
    part[len(part) - len(ramp) :] *= ramp[::-1]
    return part


def joined(
    waves: Sequence[Float[Array, " _"]], pauses: Sequence[float], end: float, rate: int
) -> tuple[Float[Array, " n"], list[tuple[int, int]]]:
    """One wave, with a pause in front of each part and one at the end (seconds); and where each part lies (samples)."""
    parts, places, at = [], [], 0
    for wave, pause in zip(waves, pauses, strict=True):
        silence = np.zeros(round(pause * rate))
        at += len(silence)
        places.append((at, at + len(wave)))
        at += len(wave)
        parts += [silence, wave]
    return np.concatenate([*parts, np.zeros(round(end * rate))]), places


# ---- loudness


def loudness(wave: Float[Array, " n"], rate: int) -> float:
    """LUFS of one channel: K-weighted power of blocks of 400 ms, three quarters overlapping, gated twice (BS.1770-4).

    A sine of 997 Hz that reaches 1 is -3.01.
    """
    weighted = _k_weighted(np.asarray(wave, np.float64), rate)
    block, step = round(0.4 * rate), round(0.1 * rate)
    sums = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(wave) - block + 1, step)
    power = (sums[starts + block] - sums[starts]) / block
    power = power[_lufs(power) > -70.0]
    if not len(power):
        raise ValueError("too short or too quiet to have a loudness")
    power = power[_lufs(power) > _lufs(power.mean()) - 10.0]
    return float(_lufs(power.mean()))


def _lufs(power: Float[Array, "..."]) -> Float[Array, "..."]:
    return -0.691 + 10.0 * np.log10(np.maximum(power, 1e-30))


def _k_weighted(wave: Float[Array, " n"], rate: int) -> Float[Array, " n"]:
    """Both filters of BS.1770 by their frequency response; zeros behind keep the end from coming round."""
    size = _power_of_two(len(wave) + rate)
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = _biquad(z, *_shelf(rate)) * _biquad(z, *_high_pass(rate))
    out: Float[Array, " n"] = np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)]
    return out


def _biquad(z: Array, b: Sequence[float], a: Sequence[float]) -> Array:
    """The response at z = exp(-i·2πf/rate), a complex number for each frequency."""
    return (b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2)


def _shelf(rate: int) -> tuple[list[float], list[float]]:
    """BS.1770's first filter at any rate: +4 dB above 1.7 kHz. Its analogue form, then the bilinear transform."""
    k, q = np.tan(np.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    b = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
    return b, [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    """BS.1770's second filter. Its numerator is 1 - 2z + z² as the standard prints it, over a[0] = 1."""
    k, q = np.tan(np.pi * 38.13547087602444 / rate), 0.5003270373238773
    one = 1 + k / q + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / one, (1 - k / q + k * k) / one]


def levelled(wave: Float[Array, " n"], rate: int) -> Float[Array, " n"]:
    """At LOUDNESS, no sample above CEILING: the few peaks that would be are turned down around themselves."""
    return limited(wave * 10 ** ((LOUDNESS - loudness(wave, rate)) / 20), round(0.005 * rate))


def limited(wave: Float[Array, " n"], reach: int) -> Float[Array, " n"]:
    """Each sample times a gain that bends over `reach` samples on either side of a peak, and holds it to CEILING.

    The gain is a mean of minima: a mean over 2·reach + 1 samples, each the least that any neighbour so near needs.
    """
    needed = np.minimum(1.0, CEILING / np.maximum(np.abs(wave), CEILING))
    width = 2 * reach + 1
    padded = np.pad(needed, 2 * reach, constant_values=1.0)
    least = np.lib.stride_tricks.sliding_window_view(padded, width).min(axis=1)
    window = np.hanning(width + 2)[1:-1]
    gain: Float[Array, " n"] = np.convolve(least, window / window.sum(), mode="valid")
    return wave * gain


# ---- the file


def write_mp3(path: Path, wave: Float[Array, " n"], rate: int) -> None:
    """Mono, KBITS kbit/s. Raises ValueError if decoding does not give back every sample at its place, unclipped."""
    import soundfile

    level = 1.0 - KBITS / 160  # libsndfile's scale, from 0 (MPEG-2's 160 kbit/s) to 1
    options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": level}
    soundfile.write(path, wave.astype(np.float32), rate, **options)
    heard, _ = soundfile.read(path)
    late = lag(wave[: 30 * rate], heard[: 30 * rate])
    if len(heard) != len(wave) or abs(late) > 0.005 * rate:
        raise ValueError(f"{path}: {len(heard)} samples for {len(wave)}, {late} late; libsndfile writes MP3 otherwise")
    if (peak := float(np.abs(heard).max())) >= 1.0:
        raise ValueError(f"{path}: the decoded sound clips ({peak:.2f})")


def lag(meant: Float[Array, " n"], heard: Float[Array, " m"]) -> int:
    """By how many samples `heard` comes later: where the two agree most."""
    size = _power_of_two(len(meant) + len(heard))
    agreement = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(meant, size)), size)
    best = int(np.argmax(agreement))
    return best if best < len(heard) else best - size


def _power_of_two(least: int) -> int:
    """A length whose Fourier transform is quick."""
    return 1 << (least - 1).bit_length()
