"""`requirements/install` with programs that only note how they were called: what it asks for, and what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
TOOLS = ("cat", "chmod", "cmp", "cp", "dirname", "mkdir", "rm", "sh")

NOTE = 'echo "$(basename "$0") $*" >>"$CALLS"; case "$*" in'
PYTHON = f"""#!/bin/sh
{NOTE}
  -c*) ;;
  "-m venv --without-pip .venv") mkdir -p .venv/bin && cp "$FAKES/venv-python" .venv/bin/python ;;
  *) exit 9 ;;
esac
"""
VENV_PYTHON = f"""#!/bin/sh
{NOTE}
  "-m ensurepip") ;;
  "-m pip install"*"--require-hashes -r requirements/uv.txt") cp "$FAKES/uv" .venv/bin/uv ;;
  *) exit 9 ;;
esac
"""
UV = f"""#!/bin/sh
{NOTE}
  --version | "pip install "*) ;;
  *) exit 9 ;;
esac
"""
BROKEN = f"#!/bin/sh\n{NOTE} esac; exit 1\n"
OLD_PYTHON = BROKEN


class Checkout:
    """A clone on a machine that has these programs and no others."""

    def __init__(self, folder: Path, **programs: str) -> None:
        self.folder, self.fakes, self.path = folder / "clone", folder / "fakes", folder / "path"
        self._calls = folder / "calls"
        for made in (self.folder / "requirements", self.fakes, self.path):
            made.mkdir(parents=True)
        for name in ("install", "uv.txt", "build.txt", "runtime.txt", "test.txt"):
            shutil.copy(REQUIREMENTS / name, self.folder / "requirements")
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        for tool in (*TOOLS, "basename"):
            found = shutil.which(tool)
            assert found is not None
            (self.path / tool).symlink_to(found)
        for name, text in {"venv-python": VENV_PYTHON, "uv": UV}.items():
            _program(self.fakes / name, text)
        for name, text in programs.items():
            _program(self.path / name.replace("_", "."), text)

    def install(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        self._calls.write_text("")
        env = {"PATH": str(self.path), "FAKES": str(self.fakes), "CALLS": str(self._calls), **environ}
        command: list[str | Path] = [self.folder / "requirements/install", *(arguments or ("runtime",))]
        return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        """What was called by the last `install`, in order; questions for a version are left out."""
        lines = self._calls.read_text().splitlines()
        return [line for line in lines if " -c " not in line and not line.endswith(" --version")]


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


MAKES_VENV = "python3 -m venv --without-pip .venv"
BRINGS_UV = [
    "python -m ensurepip",
    "python -m pip install -qq --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/uv.txt",
]


def installs(file: str = "requirements/runtime.txt") -> list[str]:
    into = "uv pip install --quiet --python .venv/bin/python"
    return [
        f"{into} --require-hashes -r {file} -r requirements/build.txt",
        f"{into} --no-deps --no-build-isolation --editable .",
    ]


def test_the_machines_uv_is_used(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON, uv=UV)
    assert checkout.install().returncode == 0
    assert checkout.calls() == [MAKES_VENV, *installs()]


@pytest.mark.parametrize("programs", [{}, {"uv": BROKEN}], ids=["no uv", "a uv that does not run"])
def test_pip_brings_uv_into_the_venv_and_leaves_the_systems_python_alone(
    tmp_path: Path, programs: dict[str, str]
) -> None:
    """PEP 668: many systems do not let pip install into their Python."""
    checkout = Checkout(tmp_path, python3=PYTHON, **programs)
    assert checkout.install().returncode == 0
    assert checkout.calls() == [MAKES_VENV, *BRINGS_UV, *installs()]


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON)
    checkout.install()
    again = checkout.install()
    assert (again.returncode, again.stdout, again.stderr, checkout.calls()) == (0, "", "", [])
    assert checkout.install("test").returncode == 0
    assert checkout.calls() == installs("requirements/test.txt")


def test_the_requirements_of_the_tests_hold_all_others(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON, uv=UV)
    checkout.install("test")
    more = ROOT / "examples/learning-platform/requirements.txt"
    for arguments in (["runtime"], ["learning-platform", str(more)]):
        assert checkout.install(*arguments).returncode == 0
        assert checkout.calls() == []
    tests = _pins(REQUIREMENTS / "test.txt")
    for file in (REQUIREMENTS / "runtime.txt", REQUIREMENTS / "build.txt", more):
        assert _pins(file) <= tests, file


def _pins(file: Path) -> set[str]:
    """Each requirement with its hashes, without the systems that it is for."""
    text = re.sub(r"(?m)^#.*\n| ; .+(?= \\$)", "", file.read_text(encoding="utf-8"))
    return set(re.split(r"\n(?=\S)", text.rstrip("\n")))


@pytest.mark.parametrize("name", ["uv.txt", "build.txt", "runtime.txt", "test.txt"])
def test_each_requirement_has_a_version_and_hashes_and_no_address(name: str) -> None:
    for pin in _pins(REQUIREMENTS / name):
        assert re.match(r"[a-z0-9.-]+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\\n|\Z))+\Z", pin), pin
    assert "://" not in (REQUIREMENTS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changed", ["pyproject.toml", *(f"requirements/{name}" for name in ("install", "build.txt", "runtime.txt"))]
)
def test_a_change_is_noticed(tmp_path: Path, changed: str) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON, uv=UV)
    checkout.install()
    with (checkout.folder / changed).open("a") as file:
        file.write("\n# changed\n")
    assert checkout.install().returncode == 0
    assert checkout.calls() == installs()


def test_a_newer_uv_is_brought(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON)
    checkout.install()
    with (checkout.folder / "requirements/uv.txt").open("a") as file:
        file.write("\n# changed\n")
    assert checkout.install().returncode == 0
    assert checkout.calls() == [*BRINGS_UV, *installs()]


def test_a_further_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    checkout, more = Checkout(tmp_path, python3=PYTHON, uv=UV), tmp_path / "more.txt"
    more.write_text("")
    for _ in range(2):
        assert checkout.install("runtime").returncode == 0
        assert checkout.install("more", str(more)).returncode == 0
    assert checkout.calls() == []
    more.write_text("# changed")
    checkout.install("more", str(more))
    assert checkout.calls() == installs(str(more))


# --- what goes wrong is said


def test_a_python_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=OLD_PYTHON, python3_12=PYTHON, uv=UV)
    assert checkout.install().returncode == 0
    assert checkout.calls() == ["python3.12 -m venv --without-pip .venv", *installs()]


@pytest.mark.parametrize("programs", [{}, {"python3": OLD_PYTHON}], ids=["none", "an old one"])
def test_no_python(tmp_path: Path, programs: dict[str, str]) -> None:
    done = Checkout(tmp_path, uv=UV, **programs).install()
    assert (done.returncode, done.stderr) == (1, "stagedoor needs Python 3.11 or newer; set PYTHON to its path\n")


def test_a_python_that_is_named_is_the_only_one_tried(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON, uv=UV)
    mine = tmp_path / "my python"
    _program(mine, PYTHON)
    assert checkout.install(PYTHON=str(mine)).returncode == 0
    assert checkout.calls()[0] == "my python -m venv --without-pip .venv"
    other = Checkout(tmp_path / "other", python3=PYTHON, uv=UV)
    assert "set PYTHON" in other.install(PYTHON="/nowhere/python").stderr


def test_no_module_venv(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON.replace("mkdir -p .venv/bin && cp", "mkdir .venv; exit 1; cp"))
    done = checkout.install()
    assert (done.returncode, done.stderr.splitlines()[1:]) == (
        1,
        ["python3 has no module venv; on Debian: apt-get install python3-venv"],
    )
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("-m ensurepip", "there is neither uv nor ensurepip here; on Debian: apt-get install python3-venv"),
        ("-m pip install", "pip could not install uv: is PyPI in reach?"),
    ],
)
def test_uv_cannot_be_brought_and_the_next_try_can(tmp_path: Path, failing: str, said: str) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON)
    _program(checkout.fakes / "venv-python", VENV_PYTHON.replace(f'"{failing}"', f'"{failing}"*) exit 1 ;; x'))
    done = checkout.install()
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said)
    _program(checkout.folder / ".venv/bin/python", VENV_PYTHON)
    assert checkout.install().returncode == 0
    assert checkout.calls() == [*BRINGS_UV, *installs()]


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("--require-hashes", "uv could not install requirements/runtime.txt: is PyPI in reach?"),
        ("--editable", "uv could not install Stagedoor itself"),
    ],
)
def test_an_installation_that_failed_is_tried_again(tmp_path: Path, failing: str, said: str) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON, uv=UV.replace("in\n", f"in *{failing}*) exit 2 ;;\n"))
    done = checkout.install()
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said)
    _program(checkout.path / "uv", UV)
    assert checkout.install().returncode == 0
    assert checkout.calls() == installs()


def test_what_the_benchmark_needs_is_installed_beside_that_of_the_tests(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path, python3=PYTHON, uv=UV)
    shutil.copy(REQUIREMENTS / "bench.txt", checkout.folder / "requirements")
    checkout.install("test")
    assert checkout.install("runtime").returncode == 0
    assert checkout.calls() == []
    assert checkout.install("bench").returncode == 0
    assert [call for call in checkout.calls() if "-r requirements/bench.txt" in call]
    checkout.install("bench")
    assert checkout.calls() == []
