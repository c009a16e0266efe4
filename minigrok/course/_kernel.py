"""The kernel in which a submission is marked: IPython's, with limits of the system and a tripwire.

    python -m minigrok.course._kernel SETTINGS -f CONNECTION_FILE

SETTINGS is a JSON object: `memory` and `file` in bytes, `cpu` in seconds; 0 is no limit. The working
directory is the folder of the submission, TMPDIR one that is thrown away. Windows has neither these limits
nor these paths: there it is a plain kernel, and the time that a cell may take is the only limit.

The limits are the system's own. The tripwire is no boundary: it sees what Python's own functions open, and
code that means harm finds a way around it (through ctypes, say). It tells the careless and the curious "no".
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from minigrok.course import exercises

__all__ = ["OF_THE_SYSTEM", "keep_checks", "limit", "main", "of_python", "tripwire"]

# What Python tells its audit hooks (see "Audit events table" in Python's documentation).
NETWORK = {
    f"socket.{name}"
    for name in ("connect", "bind", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr")
}
PROCESSES = {
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
    *("os.kill", "os.killpg", "pty.spawn"),
}
READS = {"os.listdir", "os.scandir", "os.chdir", "sqlite3.connect"}
WRITES = {
    f"os.{name}"
    for name in (
        "remove",
        "rename",
        "rmdir",
        "mkdir",
        "chmod",
        "chown",
        "link",
        "symlink",
        "truncate",
        "utime",
    )
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Programs, fonts and what the machine says of itself; nothing of its users.
OF_THE_SYSTEM = [
    *("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/System", "/Library"),
    *("/dev/null", "/dev/urandom", "/dev/random", "/dev/tty", "/dev/shm"),
    *(
        "/etc/fonts",
        "/etc/localtime",
        "/etc/timezone",
        "/etc/mime.types",
        "/etc/os-release",
        "/etc/ld.so.cache",
    ),
    *(
        "/proc/self",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/version",
        "/sys/devices",
        "/sys/fs",
    ),
]


def of_python() -> list[str]:
    """The folders of Python and its packages: of this environment, of the user, of PYTHONPATH.

    Not all of `sys.path`: it begins with the working directory, which may hold a course with its solutions.
    """
    packages = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    return [sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]), *packages]


def limit(*, memory: int = 0, cpu: int = 0, file: int = 0) -> None:
    """Set limits of this process: bytes of data, seconds of processor time, bytes of a file; 0 is none.

    Linux holds all three. macOS holds processor time and files; whether it holds the memory is not sure.
    """
    import resource

    for name, most in (("RLIMIT_DATA", memory), ("RLIMIT_CPU", cpu), ("RLIMIT_FSIZE", file)):
        if most:
            resource.setrlimit(getattr(resource, name), (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a kernel that dies leaves no picture of its memory


def tripwire(read: Iterable[str | Path], write: Iterable[str | Path]) -> Callable[[str, tuple], None]:
    """An audit hook: files below `read` may be read, below `write` changed too; no network, no processes.

    Raises PermissionError, which is what the system itself would say, from whatever function was called.
    """
    write = [os.path.realpath(path) for path in write]
    read = [*write, *(os.path.realpath(path) for path in read)]

    def inside(path: object, folders: list[str]) -> bool:
        if isinstance(path, int) or path is None:  # open already, or the working directory
            return True
        path = os.path.realpath(os.fsdecode(path))
        return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            writing = set(mode or "") & set("wax+") or (flags or 0) & WRITING
            allowed = inside(path, write if writing else read)
        elif event in READS:
            allowed = arguments[0] == ":memory:" or inside(arguments[0], read)
        elif event in WRITES:
            allowed = all(inside(path, write) for path in arguments if isinstance(path, (str, bytes)))
        elif event in PROCESSES:  # a kernel that is interrupted by message sends itself a signal
            allowed = event.startswith("os.kill") and arguments == (os.getpid(), signal.SIGINT)
        else:
            allowed = event not in NETWORK
        if not allowed:
            raise PermissionError(
                f"{event}({', '.join(map(repr, arguments[:2]))}): a submission that is being graded works in "
                "its own folder, without network and other programs"
            )

    return hook


def keep_checks(names: dict) -> Callable[[object], None]:
    """Before each cell, put back the checks of the lesson where a submission has replaced or changed them.

    `names` are those of the notebook; `check` is the lesson's module of checks once the setup cell has run.
    """
    first: dict[ModuleType, dict] = {}  # each module of checks as it was when it was first seen

    def before_a_cell(_: object) -> None:
        if not first and isinstance(names.get("check"), ModuleType):
            first[names["check"]] = dict(vars(names["check"]))
            first[exercises] = dict(vars(exercises))
        for module, contents in first.items():
            vars(module).update(contents)
        if first and "check" in names:
            names["check"] = next(iter(first))

    return before_a_cell


def main(argv: list[str]) -> None:
    """Become the kernel."""
    settings, *arguments = argv
    if os.name == "posix":
        limit(**json.loads(settings))

    import matplotlib.pyplot as plt  # noqa: F401  may write the list of fonts the first time
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance(log_level="ERROR")
    if os.name == "posix" and os.getppid() == 1:  # bubblewrap ends us with our parent, which we cannot see
        app.init_poller = lambda: None
    app.initialize(arguments)
    app.shell.events.register("pre_run_cell", keep_checks(app.shell.user_ns))
    if os.name == "posix":
        app.kernel._process_children = list  # it has none, and may not look for them when it ends
        own = [os.getcwd(), tempfile.gettempdir()]
        sys.addaudithook(tripwire([*of_python(), *OF_THE_SYSTEM], own))
    app.start()


if __name__ == "__main__":
    main(sys.argv[1:])
