"""What the Makefile calls, for systems with make and without: `python -m tasks lab`, `python -m tasks test`.

    lab          write the workbook and open JupyterLab in it (more arguments go to JupyterLab)
    test         everything CI checks: style, lessons without outputs, tests, every lesson from end to end
    book         build the published book
    slides       make the slides of the three modules, or of those that are named
    assignments  write the nbgrader course
    bench        the timings against other programs
    workbook     write or update the workbook, and no more
    test-grading nbgrader over every lesson: handed out, handed in by invented students, marked
    clean        remove what can be made again; your workbook stays

Each first makes its own environment (.venv, or .venv-bench for bench) where that is missing, unfinished
or older than the versions asked for. Standard library only; and an older Python must be able to read this
file as far as the sentence that tells it so.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)
STAMP = "minigrok-installed.json"
INSIDE = {"test": ["book", "instructor", "lab", "marabou", "sweep"]}  # extras that hold others

# Lab without its news popup (it asks a server) and without nbgrader's teacher menus, should nbgrader be here.
LAB_OFF = ["@jupyterlab/apputils-extension:announcements", "@jupyter/nbgrader"]
SERVER_OFF = ["formgrader", "validate_assignment", "assignment_list", "course_list"]


def main(arguments):
    if sys.version_info < OLDEST:
        stop(
            f"minigrok needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and this is {sys.version.split()[0]} "
            f"({sys.executable}). With a newer one installed say, for instance, "
            "`make lab PYTHON=python3.12` or `python3.12 -m tasks lab`."
        )
    name, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if name not in TASKS:
        print(__doc__)
        raise SystemExit(0 if name in ("help", "-h", "--help") else 2)
    if rest and name not in ("lab", "slides"):
        stop(f"`tasks {name}` takes no further arguments; it was given: {' '.join(rest)}")
    os.chdir(ROOT)
    TASKS[name](*rest)


def stop(sentence):
    raise SystemExit("minigrok: " + sentence)


def say(sentence):
    print("minigrok: " + sentence, flush=True)


# The environment


def environment(extras, name=".venv", more=()):
    """Make or mend the environment `name` so that it holds minigrok[extras] and `more`; return its Python."""
    env = ROOT / name
    python = python_of(env)
    fresh = not works(python)
    if fresh:
        make(env)
    stamp, fingerprint = env / STAMP, fingerprint_of(more)
    installed = read_stamp(stamp)
    if installed.get("fingerprint") == fingerprint and set(extras) <= set(installed["extras"]):
        return str(python)
    if not (installed or fresh):
        say(f"{name} has no record of an installation that was finished: completing it.")
    extras = {*extras, *installed.get("extras", [])}
    stamp.unlink(missing_ok=True)  # until pip is done, so that an interruption shows
    install(python, sorted(extras), more)
    extras |= {name for extra in extras for name in INSIDE.get(extra, [])}
    stamp.write_text(json.dumps({"fingerprint": fingerprint, "extras": sorted(extras)}))
    return str(python)


def python_of(env):
    return env / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def works(python):
    if not python.exists():
        return False
    check = f"import pip, sys; raise SystemExit(sys.version_info < {OLDEST})"
    return subprocess.run([str(python), "-c", check], capture_output=True).returncode == 0


def make(env):
    if env.exists():
        say(f"{env.name} does not work (half made, or its Python is gone): making it anew.")
    else:
        say(f"making the environment {env.name} (a few seconds).")
    base = getattr(sys, "_base_executable", sys.executable)  # never an environment inside an environment
    if subprocess.run([base, "-m", "venv", "--clear", str(env)]).returncode:
        stop(
            f"Python could not make {env.name}; it says why above. On Debian and Ubuntu what is usually "
            "missing is `apt install python3-venv`."
        )


def read_stamp(stamp):
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):  # not there, or cut off in the middle: the installation is done again
        return {}


def fingerprint_of(more):
    """One number for all that decides what pip installs, and for where this checkout lies."""
    files = [name for name in ["pyproject.toml", "constraints.txt", *more] if Path(name).is_file()]
    parts = [str(ROOT).encode(), *(Path(name).read_bytes() for name in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install(python, extras, more):
    what = ".[" + ",".join(extras) + "]" if extras else "."
    say(
        f"installing {what}: about a minute when pip has the files in its cache, else as long as the "
        "download takes (PyTorch is the big one)."
    )
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    # To compile every module ahead takes longer than all the rest, and most are never imported.
    pip = [str(python), "-m", "pip", "install", "--no-compile", "--disable-pip-version-check", *quiet]
    start = time.time()
    if subprocess.run([*pip, *(more or ["-c", "constraints.txt"]), "-e", what]).returncode:
        stop(
            "pip could not install the packages; it says why above. The first installation needs a network. "
            "Then just try again: what was downloaded is kept."
        )
    say(f"installed in {time.time() - start:.0f} s.")


# The tasks


def lab(*arguments):
    python = write_workbook()
    say("opening JupyterLab in workbook/ (some seconds; Ctrl-C here, twice, closes it).")
    config = [lab_config(), os.environ.get("JUPYTER_CONFIG_PATH")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, config))
    os.chdir("workbook")
    command = [python, "-m", "jupyterlab", *arguments]
    if os.name != "nt":
        os.execv(python, command)  # Lab takes this process over, so that Ctrl-C is Lab's alone
    signal.signal(signal.SIGINT, lambda *_: None)  # Windows: let Lab ask whether to close
    raise SystemExit(subprocess.run(command).returncode)


def lab_config():
    """Write the settings of this Lab beside the environment, where they touch no other Lab of the user."""
    folder = ROOT / ".venv" / "minigrok-lab"
    (folder / "labconfig").mkdir(parents=True, exist_ok=True)
    page = {"disabledExtensions": dict.fromkeys(LAB_OFF, True)}
    (folder / "labconfig" / "page_config.json").write_text(json.dumps(page))
    extensions = {f"nbgrader.server_extensions.{name}": False for name in SERVER_OFF}
    server = {"ServerApp": {"jpserver_extensions": extensions}}
    (folder / "jupyter_server_config.json").write_text(json.dumps(server))
    return str(folder)


def write_workbook():
    python = environment(["lab"])
    run([python, "-m", "minigrok.course.editions", "workbook", "workbook"])
    return python


def test():
    python, start = environment(["test"]), time.time()
    # A torch kernel that takes every core for itself slows its neighbours down more than it gains.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    lessons = sorted(str(path) for path in Path("lessons").glob("*.ipynb"))
    results = {
        "style": follow([python, "-m", "ruff", "check", "."], env),
        "stripped": follow([python, "-m", "nbstripout", "--verify", "--keep-id", *lessons], env),
    }
    with tempfile.TemporaryDirectory() as kept:
        env["MINIGROK_KEPT"] = kept
        jobs = {name: ([python, "-m", "pytest", *rest], env) for name, rest in suites(lessons).items()}
        results |= together(jobs)
    conclude(results, time.time() - start)


def suites(lessons):
    """All tests in parts (name: what pytest is given), in the order in which `together` takes them.

    The book is made of what the lessons show (tests/kept.py). So they come first, then two parts that last
    longer than the lessons' parts differ, then the book.
    """
    nbval = ["-p", "tests.kept", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120"]
    parts = {f"lessons {k}": [*nbval, *lessons[k - 1 :: 3]] for k in (1, 2, 3)}
    alone = {"grading": "tests/test_grading_lessons.py", "book": "tests/test_book_browser.py"}
    paths = sorted(path.as_posix() for path in Path("tests").glob("test_*.py"))
    others = [path for path in paths if path not in alone.values()]
    tests = {name: [path] for name, path in alone.items()}
    tests |= {f"tests {k}": others[k - 1 :: 4] for k in (1, 2, 3, 4)}
    tests["tests 4"].append("minigrok")  # the examples of its docstrings
    for name in ("grading", "tests 1", "book", "tests 3", "tests 2", "tests 4"):  # the short ones last
        parts[name] = ["-rs", "--durations=5", *tests[name]]  # why one was skipped, and what took longest
    return {name: ["-p", "no:cacheprovider", *part] for name, part in parts.items()}


def test_grading():
    python, start = environment(["test"]), time.time()
    numbers = sorted(path.name[:2] for path in Path("lessons").glob("*.ipynb"))
    say("grading every lesson for seven students, in three processes: about 18 minutes on two cores.")
    pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_grading_lessons.py"]
    thirds = {f"third {k}": " ".join(numbers[k - 1 :: 3]) for k in (1, 2, 3)}
    jobs = {third: (pytest, {**os.environ, "MINIGROK_GRADE": asked}) for third, asked in thirds.items()}
    conclude(together(jobs), time.time() - start)


def together(jobs):
    """Run the commands (name: command, env) in their order, three at a time; each line says whose it is."""
    pool = ThreadPoolExecutor(3)  # one more than the cores of a small machine: each part waits at times
    try:
        running = {name: pool.submit(follow, *job, name) for name, job in jobs.items()}
        return {name: job.result() for name, job in running.items()}
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C no other begins


def follow(command, env, name=""):
    """Run a command, print its lines as they come; return its exit status and its last line."""
    say("running " + (name or " ".join(command[2:4])))
    mark = f"{name:9} | " if name else ""
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        last = ""
        for line in process.stdout:
            print(mark + line, end="", flush=True)
            last = line.strip("= \n") or last
    return process.returncode, last


def conclude(results, seconds):
    print()
    for name, (code, last) in results.items():
        print(f"{name:9} {'FAILED' if code else 'passed'}  {last}", flush=True)
    failed = [name for name, (code, _) in results.items() if code]
    ending = f"in {seconds / 60:.1f} minutes"
    if failed:
        stop(f"{', '.join(failed)} failed, {ending}; the lines above say where.")
    say(f"all passed, {ending}.")


def book():
    python = environment(["book"])
    say("building the book: a few minutes, since every lesson is run.")
    run([python, "-m", "minigrok.course.editions", "book", "_build/source"])
    options = ["--path-output", "_build/book", "--all", "-W", "-n", "--keep-going"]
    jupyter_book = shutil.which("jupyter-book", path=str(Path(python).parent))  # has no `python -m` form
    run([jupyter_book, "build", "_build/source", *options])
    say(f"the book is {ROOT / '_build' / 'book' / '_build' / 'html' / 'index.html'}")


def slides(*modules):
    python = environment(["book"])
    say("making slides: about a minute for each lesson, since they are run.")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    run([python, "-m", "minigrok.course.slides", "_build/slides", *modules], env)
    say("the slides are in _build/slides/.")


def assignments():
    python = environment(["instructor"])
    run([python, "-m", "minigrok.course.editions", "release", "assignments"])
    say("the nbgrader course is in assignments/.")


def bench():
    # The programs compared with ask for versions that quarrel with the course's: only torch is the same.
    torch = next(line for line in Path("constraints.txt").read_text().split() if line.startswith("torch=="))
    python = environment([], ".venv-bench", [torch, "-r", "bench/requirements.txt"])
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for script in sorted(Path("bench").glob("[!_]*.py")):
        say(f"running {script}")
        run([python, str(script)], env)


def clean():
    for name in (".venv", ".venv-bench", "_build", "build", "minigrok.egg-info", ".pytest_cache"):
        if Path(name).exists():
            say(f"removing {name}")
            shutil.rmtree(name)


def run(command, env=None):
    code = subprocess.run(command, env=env).returncode
    if code:
        stop(f"`{Path(command[0]).name} {' '.join(command[1:])}` failed ({code}); it says why above.")


TASKS = {task.__name__: task for task in (lab, test, book, slides, assignments, bench, clean)}
TASKS |= {"workbook": write_workbook, "test-grading": test_grading}

if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a sign the console cannot show should not stop the tests
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        stop("interrupted; the same command takes it up again.")
