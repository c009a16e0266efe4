"""The frame of the project: its metadata agree with each other, its commands exist, its package installs."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import minigrok
import tasks
from minigrok.course import editions

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TESTS = frozenset({"test"})
README = (ROOT / "README.md").read_text(encoding="utf-8")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.partition("#")[0].strip().split("==") for line in lines if not line.startswith("#"))


def direct_requirements() -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    return [Requirement(line) for line in lines if not line.startswith("minigrok")]


def needed(name: str, extras: frozenset[str] = frozenset(), seen: set | None = None) -> set[str]:
    """The names of all distributions that `name[extras]` needs here, itself included."""
    seen = set() if seen is None else seen
    if (name, extras) in seen:
        return seen
    seen.add((name, extras))
    for requirement in map(Requirement, distribution(name).requires or []):
        wanted = [{"extra": extra} for extra in extras or {""}]
        if requirement.marker is None or any(map(requirement.marker.evaluate, wanted)):
            needed(canonicalize_name(requirement.name), frozenset(requirement.extras), seen)
    return seen


# Versions


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_every_direct_dependency_has_an_exact_version_inside_its_range(requirement):
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_constraints_hold_no_local_versions():
    assert not [name for name, number in pins().items() if "+" in number]


def test_the_environment_of_these_tests_is_the_one_of_constraints():
    installed = {name: version(name).partition("+")[0] for name, _ in needed("minigrok", TESTS)}
    del installed["minigrok"]
    expected = pins()
    differing = {name: number for name, number in installed.items() if expected.get(name, number) != number}
    assert not differing, f"not the versions of constraints.txt (`make test` installs those): {differing}"
    # PyTorch's CUDA libraries come with some of its wheels and not with others, and are not ours to choose.
    unpinned = {name for name in installed if not re.match("nvidia-|cuda-|triton", name)} - set(expected)
    assert not unpinned, f"constraints.txt should name them too: {unpinned}"


def test_the_oldest_python_can_install_all_of_it():
    oldest = "{}.{}.0".format(*tasks.OLDEST)
    asked = {name: distribution(name).metadata["Requires-Python"] for name, _ in needed("minigrok", TESTS)}
    too_new = {name: asked for name, asked in asked.items() if asked and oldest not in SpecifierSet(asked)}
    assert not too_new, f"Debian 12 has Python 3.11.2; pin the newest version that takes {oldest}: {too_new}"


def test_every_dependency_says_why_it_is_there():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if re.match(r'  "[a-zA-Z0-9-]+[>=<]', line)]
    assert len(required) == len(direct_requirements())
    assert all(re.search(r"# \w{3,}", line) for line in required)


def test_environment_yml_is_python_pip_and_the_lab_extra():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *plain, pip = conda["dependencies"]
    assert plain == [f"python {PROJECT['requires-python']}", "pip"]
    assert pip == {"pip": ["-e .[lab]"]} and "lab" in EXTRAS
    assert conda["name"] == "minigrok" and conda["channels"] == ["conda-forge"]


def test_tasks_ask_for_the_python_of_the_package():
    assert PROJECT["requires-python"] == ">={}.{}".format(*tasks.OLDEST)


# What the project says of itself


def test_citation_has_what_a_reference_needs():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["version"] == minigrok.__version__ == version("minigrok")
    assert citation["title"] and citation["message"]
    assert citation["repository-code"] == editions.REPOSITORY
    assert citation["authors"] == [{"name": "the minigrok authors"}]
    assert citation["license"] == PROJECT["license"] == "MIT"


def test_citation_and_changelog_tell_one_date():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (date,) = re.findall(rf"(?m)^## {re.escape(minigrok.__version__)} \((.+)\)$", changes)
    assert str(citation.get("date-released", "not released yet")) == date


def test_both_licences_are_there_in_full():
    code, text = ((ROOT / name).read_text(encoding="utf-8") for name in ("LICENSE", "LICENSE-TEXT"))
    assert code.startswith("MIT License\n\nCopyright (c) 2026 the minigrok authors")
    assert "Attribution 4.0 International" in text
    assert [f"Section {n} -- " in text for n in range(1, 9)] == [True] * 8


def test_the_changelog_knows_this_version():
    assert f"## {minigrok.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_commands_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split())
    named = set(re.findall(r"`make (\w+)", README)) | set(re.findall(r"`python -m tasks (\w+)", README))
    assert {"lab", "test", "book", "assignments", "bench"} <= named <= targets
    assert targets == set(tasks.TASKS)


def test_files_linked_from_the_readme_exist():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "book/how_to_use.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.])(?:tests|bench|experiments|lessons|minigrok|book)/[\w./]*\w", text))
    assert named and not {name for name in named if not (ROOT / name).exists()}


def test_readme_example_prints_what_it_says_and_needs_the_core_alone():
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    shown = [line[2:] for line in code.splitlines() if line.startswith("# ")]
    assert len(shown) == code.count("print(") > 0
    assert run_with_core_alone(code).splitlines() == shown


def tracked() -> list[Path]:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so it cannot be told which files belong to the project")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in names.decode().split("\0") if name and (ROOT / name).is_file()]


# What belongs to one machine or one workplace: its folders, its package servers, its tickets.
FOREIGN = re.compile(
    r"(?<![\w.])/(work|tmp|farm|root|home|Users)/[a-z]"
    r"|https?://[^/\s]*(pypi|pythonhosted|npmjs|conda\.anaconda)\b"
    r"|\b(issue|session|ticket)s? #\d",
    re.I,
)


@pytest.mark.parametrize(
    "text", ["see /" + "tmp/x", "cd /" + "home/a", "https://" + "pypi.example/simple", "issue " + "#12 says"]
)
def test_foreign_names_are_seen(text):
    assert FOREIGN.search(text)


def test_no_file_names_one_machine_or_workplace():
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a recording or a picture
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in FOREIGN.finditer(text)]
    assert not found


def test_what_is_made_is_not_kept():
    made = {"/.venv/", "/.venv-bench/", "/workbook/", "/assignments/", "/_build/"}
    assert made <= set((ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())
    assert not {f"/{path.relative_to(ROOT).parts[0]}/" for path in tracked()} & made


# The package


def run_python(code: str, python: str = sys.executable) -> str:
    """What the code prints in a Python of its own, with warnings as errors."""
    command = [python, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


# Refuses to import what `import minigrok` must not need, as if it were not installed.
ONLY = """
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions

needed = {needed}
here = {{name for name, owners in packages_distributions().items()
        if not needed & {{owner.lower().replace("_", "-").replace(".", "-") for owner in owners}}}}

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in here:
            raise ModuleNotFoundError("not to be needed: " + name, name=name)

sys.meta_path.insert(0, Absent())
{code}
"""


def run_with_core_alone(code: str) -> str:
    names = {"minigrok"} | {name for name, _ in needed("minigrok")}
    return run_python(ONLY.format(needed=names, code=code))


def test_the_core_is_torch_numpy_and_scipy():
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == {"torch", "numpy", "scipy"}


def test_import_needs_the_core_alone_and_leaves_the_random_numbers_alone():
    before, after = "a = torch.get_rng_state()", "print(bool((a == torch.get_rng_state()).all()))"
    assert run_with_core_alone(f"import torch; {before}; import minigrok; {after}") == "True\n"


def test_the_test_of_the_core_refuses_the_rest():
    with pytest.raises(AssertionError, match="not to be needed: matplotlib"):
        run_with_core_alone("import matplotlib")


def test_every_exported_name_is_there_and_in_the_docstring():
    for name in minigrok.__all__:
        assert hasattr(minigrok, name)
        assert name == "__version__" or f"minigrok.{name} " in minigrok.__doc__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package's wheel, built from a copy: setuptools leaves build/ behind, and would read an old one."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, source)
    for name in ("minigrok", "tests", "bench"):  # tests and bench are there to be left out
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(source))
    (wheel,) = built.iterdir()
    return wheel


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_minigrok_and_all_of_it(wheel):
    info = f"minigrok-{minigrok.__version__}.dist-info"
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in held} == {"minigrok", info}
    package = (path for path in (ROOT / "minigrok").rglob("*") if path.is_file())
    expected = {path.relative_to(ROOT).as_posix() for path in package if "__pycache__" not in path.parts}
    assert {name for name in held if name.startswith("minigrok/")} == expected
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/LICENSE-TEXT", "minigrok/py.typed"} <= held


def test_the_wheel_installs_in_an_environment_of_its_own_and_imports(wheel, tmp_path):
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    python = next(str(path) for path in env.glob("*/python*") if path.stem == "python")
    pip("--python", python, "install", "--no-deps", "--no-index", str(wheel))
    where = run_python("import sysconfig; print(sysconfig.get_path('purelib'))", python).strip()
    # Its dependencies are this environment's: to fetch them again would test the network.
    Path(where, "dependencies.pth").write_text(str(Path(distribution("torch").locate_file(""))))
    assert run_python("import minigrok; print(minigrok.__file__)", python).startswith(where)


# tasks.py


def test_tasks_need_the_standard_library_alone():
    tree = ast.parse((ROOT / "tasks.py").read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_an_old_python_reads_tasks_as_far_as_the_sentence(monkeypatch):
    ast.parse((ROOT / "tasks.py").read_text(encoding="utf-8"), feature_version=(3, 7))
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer.*make lab PYTHON=python3\.12"):
        tasks.main(["lab"])


@pytest.mark.parametrize("arguments, code", [([], 0), (["help"], 0), (["labb"], 2)])
def test_tasks_explain_themselves(arguments, code, capsys):
    with pytest.raises(SystemExit) as ending:
        tasks.main(arguments)
    assert ending.value.code == code
    shown = capsys.readouterr().out
    assert all(f"\n    {name} " in shown for name in tasks.TASKS)


def test_only_lab_takes_arguments():
    with pytest.raises(SystemExit, match="`tasks book` takes no further arguments; it was given: --all x"):
        tasks.main(["book", "--all", "x"])


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout in which no real pip runs: installations are noted instead."""
    (tmp_path / "pyproject.toml").write_text("a")
    (tmp_path / "constraints.txt").write_text("b")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    installed = []
    monkeypatch.setattr(tasks, "install", lambda python, extras, more: installed.append(extras))
    monkeypatch.setattr(tasks, "works", lambda python: python.exists())
    monkeypatch.setattr(tasks, "make", make_empty)
    return tmp_path, installed


def make_empty(env: Path) -> None:
    tasks.python_of(env).parent.mkdir(parents=True)
    tasks.python_of(env).touch()


def test_an_environment_is_installed_once(checkout, capsys):
    folder, installed = checkout
    assert tasks.environment(["lab"]) == tasks.environment(["lab"]) == str(tasks.python_of(folder / ".venv"))
    assert installed == [["lab"]]
    assert capsys.readouterr().out == ""


def test_an_environment_grows_and_keeps_what_it_had(checkout):
    for extra in ("lab", "book", "lab", "test", "instructor"):
        tasks.environment([extra])
    assert checkout[1] == [["lab"], ["book", "lab"], ["book", "lab", "test"]]


def test_tasks_know_which_extras_hold_others():
    for extra, inside in tasks.INSIDE.items():
        (line,) = (line for line in EXTRAS[extra] if line.startswith("minigrok"))
        assert sorted(Requirement(line).extras) == inside


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_an_environment_follows_the_versions_asked_for(checkout, name):
    folder, installed = checkout
    tasks.environment(["book", "lab"])
    (folder / name).write_text("c")
    tasks.environment(["lab"])
    assert installed == [["book", "lab"]] * 2


def test_an_interrupted_installation_is_said_and_completed(checkout, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    note = tasks.install
    tasks.environment(["lab"])
    monkeypatch.setattr(tasks, "install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tasks.environment(["test"])
    monkeypatch.setattr(tasks, "install", note)
    tasks.environment(["lab"])
    assert checkout[1] == [["lab"], ["lab"]]
    assert ".venv has no record of an installation that was finished: completing" in capsys.readouterr().out


def test_a_stamp_cut_off_in_the_middle_counts_as_none(checkout):
    folder, installed = checkout
    tasks.environment(["lab"])
    stamp = folder / ".venv" / tasks.STAMP
    stamp.write_text(stamp.read_text()[:20])
    tasks.environment(["lab"])
    assert installed == [["lab"]] * 2


def test_a_broken_environment_is_said_and_made_anew(tmp_path, capsys):
    env = tmp_path / ".venv"
    env.mkdir()
    assert not tasks.works(tasks.python_of(env))
    tasks.make(env)
    assert tasks.works(tasks.python_of(env))
    assert ".venv does not work (half made, or its Python is gone): making it anew" in capsys.readouterr().out


def test_a_failing_pip_is_said(monkeypatch, tmp_path):
    (tmp_path / "constraints.txt").write_text("")
    (tmp_path / "pyproject.toml").write_text("this is no TOML")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SystemExit, match="pip could not install the packages; it says why above"):
        tasks.install(sys.executable, ["lab"], ())


def test_lab_is_without_news_and_teachers_menus(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    folder = Path(tasks.lab_config())
    page = json.loads((folder / "labconfig/page_config.json").read_text())
    assert page["disabledExtensions"]["@jupyter/nbgrader"] is True
    shipped = Path(sys.prefix, "etc/jupyter/jupyter_server_config.d/nbgrader.json")
    theirs = json.loads(shipped.read_text())["ServerApp"]["jpserver_extensions"]
    ours = json.loads((folder / "jupyter_server_config.json").read_text())["ServerApp"]["jpserver_extensions"]
    assert ours == dict.fromkeys(theirs, False)


def test_the_summary_names_what_failed(capsys):
    with pytest.raises(SystemExit, match=r"tests failed, in 1\.5 minutes"):
        tasks.conclude({"style": (0, "All checks passed!"), "tests": (1, "1 failed, 2 passed")}, 90)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["", "style     passed  All checks passed!", "tests     FAILED  1 failed, 2 passed"]
    tasks.conclude({"style": (0, "")}, 6)
    assert "all passed, in 0.1 minutes" in capsys.readouterr().out


def test_a_followed_command_gives_its_status_and_last_line(capsys):
    code = "print('one'); print('== two =='); print(); raise SystemExit(3)"
    assert tasks.follow([sys.executable, "-c", code], None) == (3, "two")
    assert "one\n== two ==\n" in capsys.readouterr().out


def test_jobs_run_three_at_a_time_and_each_line_says_whose_it_is(tmp_path, capsys):
    """The first three wait for each other, so they run side by side; the last finds one of them done."""
    here = f"pathlib.Path({str(tmp_path)!r})"
    meet = (
        "import pathlib\n({0} / '{1}.begun').touch()\nwhile len(list({0}.glob('*.begun'))) < 3: pass\n"
        "print('met')\n({0} / '{1}.done').touch(); raise SystemExit({2})"
    )
    codes = {name: meet.format(here, name, code) for name, code in [("one", 0), ("two", 3), ("three", 0)]}
    codes["four"] = f"import pathlib\nprint(any({here}.glob('*.done')))"
    jobs = {name: ([sys.executable, "-c", code], None) for name, code in codes.items()}
    results = {"one": (0, "met"), "two": (3, "met"), "three": (0, "met"), "four": (0, "True")}
    assert tasks.together(jobs) == results
    assert {"one       | met", "two       | met"} < set(capsys.readouterr().out.splitlines())


def test_the_parts_hold_every_test_and_every_lesson_once(monkeypatch):
    monkeypatch.chdir(ROOT)
    lessons, tests = (list(map(str, Path().glob(names))) for names in ("lessons/*.ipynb", "tests/test_*.py"))
    held = [name for part in tasks.suites(lessons).values() for name in part if Path(name).exists()]
    assert sorted(held) == sorted(["minigrok", *lessons, *tests])


def test_benchmarks_take_the_torch_of_the_constraints(monkeypatch):
    asked = {}
    monkeypatch.setattr(tasks, "environment", lambda *arguments: asked.update(given=arguments) or "python")
    monkeypatch.setattr(tasks, "run", lambda command, env: asked.setdefault("ran", []).append(command[1]))
    monkeypatch.chdir(ROOT)
    tasks.bench()
    assert asked["given"][2] == [f"torch=={pins()['torch']}", "-r", "bench/requirements.txt"]
    assert asked["ran"] and not [name for name in asked["ran"] if Path(name).name.startswith("_")]
