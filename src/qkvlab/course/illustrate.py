"""`make art`: the lesson's illustrations, drawn from the vectors and weights of its two sentences, in both themes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from .. import questions
from ..model import open_model
from ..trace import Trace

ART = Path(__file__).parent / "art"
CAT, ITALY = "The cat drank because it was thirsty", "In France they speak French. In Italy they speak"
WIDTH = 960
THEMES = {
    "light": {"ground": "#ffffff", "ink": "#1b1d22", "soft": "#5d5a54", "q": "#0072b2", "k": "#d55e00", "v": "#009e73"},
    "dark": {"ground": "#1c1f24", "ink": "#eceae4", "soft": "#a3a29d", "q": "#56b4e9", "k": "#f0894a", "v": "#3ccfa0"},
}
"""The page's own colours (web/src/app.css)."""
FONT = 'font-family="DejaVu Sans, Noto Sans, system-ui, sans-serif"'
Palette = dict[str, str]
Number = int | float


def strip(values: np.ndarray, x: Number, y: Number, width: Number, height: Number, colour: str) -> str:
    """A vector as signed bars around its middle, clipped at the 99th percentile of their sizes."""
    end = float(np.percentile(np.abs(values), 99)) or 1.0
    step = width / len(values)
    bars = []
    for place, share in enumerate(np.clip(values / end, -1, 1).tolist()):
        size = abs(share) * height / 2
        top = y + height / 2 - (size if share > 0 else 0)
        bars.append(f"M{x + place * step:.1f} {top:.1f}h{0.72 * step:.2f}v{size:.1f}h-{0.72 * step:.2f}z")
    return f'<path d="{"".join(bars)}" fill="{colour}"/>'


def words(text: str, x: Number, y: Number, size: Number, colour: str, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" {FONT} fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def projected(trace: Trace) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The x of the token " it" as attention reads it in layer 13, and what head 13.8 makes of it."""
    at, kv_head = questions.token_index(trace.tokens, " it"), trace.spec.kv_head(trace.spec.head("13.8"))
    vectors = {"q": trace.q(13)[8, at], "k": trace.k(13)[kv_head, at], "v": trace.v(13)[kv_head, at]}
    return trace.normed(13)[at], vectors


def hero(trace: Trace, colours: Palette) -> str:
    """One x, three matrices, three vectors: the token " it" at head 13.8, which is its own query, key and value."""
    x, vectors = projected(trace)
    asks = {"q": "what am I looking for?", "k": "what can others find me by?", "v": "what do I hand over?"}
    parts = [
        words('" it"', 40, 128, 30, colours["ink"], weight=700),
        words("x, 576 numbers, as attention reads it in layer 13", 40, 62, 15, colours["soft"]),
        strip(x, 130, 80, 330, 76, colours["soft"]),
        words("the longest are cut", 130, 182, 14, colours["soft"]),
    ]
    for row, (hat, vector) in enumerate(vectors.items()):
        y = 30 + 72 * row
        parts += [
            f'<path d="M470 118C520 118 520 {y + 24} 560 {y + 24}" fill="none" stroke-width="2" '
            f'stroke="{colours[hat]}"/>',
            words("W", 566, y + 30, 18, colours[hat], weight=700),
            words(hat, 587, y + 35, 13, colours[hat], weight=700),
            strip(vector, 616, y, 300, 44, colours[hat]),
            words(asks[hat], 616, y + 62, 14, colours[hat]),
        ]
    return framed(parts, 250, colours)


def hero_narrow(trace: Trace, colours: Palette) -> str:
    """The same without its captions, to be read at 360 pixels; also on the course map."""
    x, vectors = projected(trace)
    parts = [words('" it"', 4, 198, 42, colours["ink"], weight=700), strip(x, 116, 128, 260, 112, colours["soft"])]
    for row, (hat, vector) in enumerate(vectors.items()):
        y = 16 + 120 * row
        parts += [
            f'<path d="M388 184C460 184 450 {y + 48} 506 {y + 48}" fill="none" stroke-width="5" '
            f'stroke="{colours[hat]}"/>',
            words("W", 518, y + 62, 38, colours[hat], weight=700),
            words(hat, 560, y + 72, 27, colours[hat], weight=700),
            strip(vector, 600, y, 356, 96, colours[hat]),
        ]
    return framed(parts, 368, colours)


def spotlight(trace: Trace, colours: Palette) -> str:
    """Where the last word looks at head 23.4, and what the value it finds hands over, in words."""
    return looking(trace, colours, first=0, scale=1)


def spotlight_narrow(trace: Trace, colours: Palette) -> str:
    """The end of the sentence alone, to be read at 360 pixels."""
    return looking(trace, colours, first=6, scale=2.4)


def looking(trace: Trace, colours: Palette, first: int, scale: Number) -> str:
    """The tokens from `first` on, `scale` times as large as 20 pixels."""
    query = len(trace) - 1
    weights = trace.weights("23.4")[query]
    key = int(weights.argmax())
    said = questions.ask(trace, key, "23.4", top=3).hands_over
    assert said is not None, "SmolLM2 has an output head"
    handed = [word.text.strip() for word in said.promotes[:3]]
    parts, x, middles = [], 40.0, {}
    if first > 0:
        parts.append(words("…", x, 120 * scale, 20 * scale, colours["ink"]))
        x += 24 * scale
    for token, text in enumerate(trace.tokens):
        if token < first:
            continue
        width = 11.4 * scale * len(text)
        colour = colours["q"] if token == query else colours["k"] if token == key else colours["ink"]
        weight = 700 if token in (query, key) else 400
        parts.append(words(text.strip(), x + width / 2, 120 * scale, 20 * scale, colour, "middle", weight))
        middles[token] = x + width / 2
        x += width + 8 * scale
    for token, share in enumerate(weights.tolist()):
        if token in middles and token != query and share > 0.01:
            a, b, low, top = middles[query], middles[token], 98 * scale, 30 * scale
            parts.append(
                f'<path d="M{a:.0f} {low:.0f}C{a:.0f} {top:.0f} {b:.0f} {top:.0f} {b:.0f} {low:.0f}" fill="none" '
                f'stroke="{colours["k"]}" stroke-width="{scale * (1 + 6 * share):.1f}" '
                f'stroke-opacity="{0.35 + 0.65 * share:.2f}"/>'
            )
    between = (middles[query] + middles[key]) / 2
    parts.append(words(f"{weights[key]:.2f}", between, 36 * scale, 16 * scale, colours["k"], "middle", 700))
    told, size = "hands over: " + " · ".join(handed), min(17 * scale, 34)
    middle = max(middles[key], 40 + 0.33 * size * len(told))
    parts.append(words(told, middle, 160 * scale, size, colours["v"], "middle", 700))
    return framed(parts, round(184 * scale), colours)


def framed(parts: Sequence[str], height: int, colours: Palette) -> str:
    ground = f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{colours["ground"]}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">{ground}{"".join(parts)}</svg>\n'


PICTURES: dict[str, tuple[str, Callable[[Trace, Palette], str], str]] = {
    "hero": (
        CAT, hero,
        'The vector x of the token "it" in layer 13 of SmolLM2, and the three vectors that W_q, W_k and W_v of head '
        "13.8 make of it: its query, its key and its value, drawn as bars from the model's own numbers.",
    ),
    "hero-narrow": (
        CAT, hero_narrow, 'The vector x of the token "it", and its query, key and value at head 13.8 of SmolLM2.',
    ),
    "spotlight": (
        ITALY, spotlight,
        'In "In France they speak French. In Italy they speak", head 23.4 looks from the last word at "Italy"; the '
        "value of that token hands over the words Italians, Italian and Italy.",
    ),
    "spotlight-narrow": (
        ITALY, spotlight_narrow, 'Head 23.4 looks from the last word of "In Italy they speak" at "Italy".',
    ),
}  # fmt: skip


def main() -> None:
    """Draw all pictures."""
    model = open_model("smollm2")
    ART.mkdir(exist_ok=True)
    for name, (text, draw, told) in PICTURES.items():
        trace = model.trace(text)
        for theme, colours in THEMES.items():
            (ART / f"{name}-{theme}.svg").write_text(draw(trace, colours), encoding="utf-8")
        (ART / f"{name}.txt").write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
