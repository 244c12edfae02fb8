"""A small course for the tests of the course's pages: the fixtures of web/tests/lesson, and a silent recording."""

import io
import json
import wave
from pathlib import Path
from typing import Any

FILES = Path(__file__).parents[2] / "web" / "tests" / "lesson"
SECONDS = 0.6
"""So long each sentence lasts here."""


def give_course(page: Any) -> None:
    """Answer the page's requests for the course from the fixtures."""
    page.route("**/course/**", _give)


def _give(route: Any) -> None:
    name = route.request.url.split("/course/")[1]
    if name.endswith(".wav"):
        route.fulfill(body=_silence(), content_type="audio/wav")
    elif (FILES / name).is_file():
        route.fulfill(
            body=json.dumps(_shortened(json.loads((FILES / name).read_text("utf-8")))), content_type="application/json"
        )
    else:
        route.fulfill(status=404)


def _shortened(lesson: dict[str, Any]) -> dict[str, Any]:
    """The lesson with sentences that a test can wait for."""
    if lesson.get("narration") is None:
        return lesson
    n = len(lesson["narration"]["sentences"])
    times = [[i * SECONDS, (i + 1) * SECONDS] for i in range(n)]
    return {**lesson, "narration": {**lesson["narration"], "seconds": n * SECONDS, "sentences": times}}


def _silence(seconds: float = 7 * SECONDS, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(rate)
        file.writeframes(b"\x80" * int(seconds * rate))
    return out.getvalue()
