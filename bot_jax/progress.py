"""What a person sees while a run goes on."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


def format_duration(seconds: float) -> str:
    """Seconds as "1:02:03" or "2:03"."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """Prints names and values, aligned, below a title."""
    width = max(len(name) for name, _ in rows)
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<{width}}  {value}", flush=True)


class StartUp:
    """Measures what comes before the first step, part by part."""

    def __init__(self, began: float):
        """`began`: when the program did, by `time.perf_counter`."""
        self._began = self._last = began
        self._parts: dict[str, float] = {}

    def finished(self, part: str) -> None:
        """Notes that `part` took the time since the part before."""
        now = time.perf_counter()
        self._parts[part] = now - self._last
        self._last = now

    def scalars(self) -> dict[str, float]:
        """Seconds of each part, and of all."""
        return self._parts | {"total": self._last - self._began}

    def __str__(self):
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self._parts.items())
        return f"First step after {self._last - self._began:.1f} s: {parts}."


class Stopwatch:
    """Measures the pace of training, leaving out compilation, evaluation and saving."""

    def __init__(self, step: int):
        """Starts at `step`, with time running."""
        self.restart(step)

    def restart(self, step: int) -> None:
        """Forgets all that was measured before `step`."""
        self._resumed, self._step = time.perf_counter(), step
        self._training = self._waiting = 0.0
        self._total_training, self._total_steps = 0.0, 0

    def pause(self) -> None:
        """Stops counting time until `go_on`."""
        self._training += time.perf_counter() - self._resumed

    def go_on(self) -> None:
        """Counts time again from now."""
        self._resumed = time.perf_counter()

    def waited(self, seconds: float) -> None:
        """Notes time that was spent waiting for data."""
        self._waiting += seconds

    def window(self, step: int) -> tuple[float, float]:
        """(steps a second, share of time spent waiting for data) since the last call."""
        self.pause()
        self.go_on()
        seconds = max(self._training, 1e-9)
        steps, share = step - self._step, self._waiting / seconds
        self._total_training += seconds
        self._total_steps += steps
        self._step, self._training, self._waiting = step, 0.0, 0.0
        return steps / seconds, share

    def pace(self) -> float:
        """Steps a second over all windows, 0 before the first."""
        return self._total_steps / self._total_training if self._total_training else 0.0


class ProgressLine:
    """A live line on a terminal; plain lines elsewhere, one whenever there is news."""

    def __init__(self, total_steps: int, start_step: int, stream=None):
        """`stream`: where it is written; default standard output."""
        self._total, self._stream = total_steps, stream or sys.stdout
        self._live = None
        console = Console(file=self._stream)
        if console.is_terminal:
            # On a narrow terminal the end of the line is cut; rather that than the time left.
            bar = (BarColumn(20),) if console.width >= 150 else ()
            text = TextColumn("{task.fields[text]}", markup=False)
            self._live = Progress(*bar, text, console=console)
            self._task = self._live.add_task("", total=total_steps, completed=start_step, text="")
            self._live.start()

    def advance(self, step: int) -> None:
        """Moves the bar to `step`."""
        if self._live:
            self._live.update(self._task, completed=step)

    def news(self, text: str) -> None:
        """Shows the newest figures."""
        if self._live:
            self._live.update(self._task, text=text)
        else:
            print(text, file=self._stream, flush=True)

    def line(self, text: str) -> None:
        """Prints a line that stays."""
        if self._live:
            self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the live line."""
        if self._live:
            self._live.stop()


# Seconds between two lines about images.
_NEWS_EVERY = 10.0


class ImageProgress:
    """Says how many images are done and how long the others will take. Use as a context manager."""

    def __init__(self, what: str, total: int, stream=None):
        """`what` is done with them, such as "predicted", how many there are, and where to say it.

        `stream` is standard output by default.
        """
        self._what, self._total, self._line = what, total, ProgressLine(total, 0, stream)
        self._began = self._said = time.perf_counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._line.close()

    def at(self, done: int) -> None:
        """So many are done."""
        self._line.advance(done)
        now = time.perf_counter()
        if now - self._said >= _NEWS_EVERY or done == self._total:
            self._said = now
            left = format_duration((now - self._began) / done * (self._total - done))
            self._line.news(f"{self._what} {done:,} of {self._total:,} images, {left} left")
