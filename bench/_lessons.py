"""Seconds and memory of every lesson, each run from its first to its last cell in a kernel of its own.

`python bench/_lessons.py [NN ...]` prints one row a lesson beside what the lesson's head promises, and
marks a head that promises less than was measured. It needs minigrok's extra `lab`, and a machine with nothing
else to do. Memory is the kernel's largest resident set; processor seconds are those of the kernel alone.
"""

import sys
import time
from pathlib import Path
from threading import Event, Thread

import psutil
from jupyter_client.manager import start_new_kernel

from minigrok.course.cells import read_lesson
from minigrok.course.timetable import Lesson, read_lessons

LESSONS = Path(__file__).resolve().parent.parent / "lessons"


def measure(path: Path) -> tuple[float, float, float]:
    """Run one lesson; seconds on the clock (the kernel's start included), of the processor, and GB."""
    begin, memory, ended = time.perf_counter(), [0], Event()
    manager, client = start_new_kernel(cwd=path.parent)
    kernel = psutil.Process(manager.provisioner.pid)
    watch = Thread(target=record, args=(kernel, memory, ended))
    watch.start()
    try:
        for cell in read_lesson(path).cells:
            if cell.cell_type == "code":
                run(client, cell.source)
        processor = sum(kernel.cpu_times()[:2])
        return time.perf_counter() - begin, processor, max(memory) / 2**30
    finally:
        ended.set()
        watch.join()
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client, source: str) -> None:
    """Run a cell, without showing what it shows."""
    reply = client.execute_interactive(source, timeout=600, output_hook=lambda message: None)
    if reply["content"]["status"] != "ok":
        raise SystemExit(f"{source}\n\nfailed: {reply['content']['ename']}: {reply['content']['evalue']}")


def record(kernel: psutil.Process, memory: list[int], ended: Event) -> None:
    """The kernel's resident bytes, ten times a second."""
    while not ended.wait(0.1):
        memory.append(kernel.memory_info().rss)


def row(lesson: Lesson, seconds: float, processor: float, gigabytes: float) -> str:
    """One line of the table, with a mark where the head promises less."""
    more = seconds > 60 * lesson.run or gigabytes > lesson.memory
    measured = f"{seconds:6.1f} s (processor {processor:5.1f} s) {gigabytes:5.2f} GB"
    promised = f"head: {60 * lesson.run:3.0f} s {lesson.memory:.1f} GB"
    return f"{lesson.number} {measured}   {promised}{'  <- more' * more}"


def main() -> None:
    """Measure the lessons named, or all."""
    lessons = read_lessons()
    asked = sys.argv[1:] or list(lessons)
    if not set(asked) <= set(lessons):
        raise SystemExit(f"{__doc__}\nLessons: {' '.join(lessons)}")
    for number in asked:
        print(row(lessons[number], *measure(LESSONS / f"{lessons[number].file}.ipynb")), flush=True)


if __name__ == "__main__":
    main()
