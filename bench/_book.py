"""What the built book weighs, and how soon its first page can be read.

    python -m tasks book
    .venv/bin/python bench/_book.py _build/book/_build/html

Needs the extra `test` for its browser, so `make bench` leaves it out. The pages come from this machine, the
browser's cache is empty, and scripts are off.
"""

import statistics
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browser import browser_or_skip  # noqa: E402

FIRST, LOADS = "book/intro.html", 7


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def weigh(book: Path) -> None:
    files = {path: path.stat().st_size for path in book.rglob("*") if path.is_file()}
    print(f"the site         {sum(files.values()) / 1e6:6.1f} MB in {len(files)} files")
    for folder in ("lessons", "book", "_images", "_static", "_downloads"):
        held = sum(size for path, size in files.items() if path.relative_to(book).parts[0] == folder)
        print(f"  {folder:14} {held / 1e6:6.1f} MB")
    for path in sorted(files, key=files.get, reverse=True)[:8]:
        print(f"  {files[path] / 1e6:6.2f} MB  {path.relative_to(book)}")


def load(browser: object, url: str) -> tuple[float, float, int, int]:
    """Seconds until the first words stand on the screen and until all is there; requests, and their bytes."""
    context = browser.new_context(java_script_enabled=False)
    page, sizes = context.new_page(), []
    page.on("response", lambda response: sizes.append(int(response.headers.get("content-length", 0))))
    start = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator("h1:visible").first.wait_for()
    readable = time.perf_counter() - start
    page.wait_for_load_state("load")
    whole = time.perf_counter() - start
    context.close()
    return readable, whole, len(sizes), sum(sizes)


def main(book: Path) -> None:
    weigh(book)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with browser_or_skip() as browser:
        loads = [load(browser, f"http://127.0.0.1:{server.server_port}/{FIRST}") for _ in range(LOADS)]
    readable, whole = (statistics.median(values) for values in list(zip(*loads, strict=True))[:2])
    *_, requests, size = loads[-1]
    print(f"{FIRST}: readable in {readable:.2f} s, whole in {whole:.2f} s (medians of {LOADS} loads),")
    print(f"  {requests} requests, {size / 1e6:.2f} MB, without scripts")
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
