"""Tests of `.ci/run` with stand-ins for Python and the tools: the commands it runs, and the folders it leaves alone."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TOOLS = ("python", "pip", "ruff", "codespell", "mypy", "lint-imports", "zensical")
OLD = "0123456789abcdef"

# Logs its own path and its arguments, one line per call.
TOOL = '#!/bin/sh\necho "$0 $*" >>"$CALLS"\n'
PYTHON3 = f"""#!/bin/sh
if [ "$1" = --version ]; then echo "Python $VERSION"; exit; fi
echo "$0 $*" >>"$CALLS"
mkdir -p "$3/bin" && : >"$3/pyvenv.cfg"
for tool in {" ".join(TOOLS)}; do cp "$TOOL" "$3/bin/$tool"; done
"""


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@dataclass
class Checkout:
    """A checkout with the script, and the folder for its environments."""

    folder: Path

    @property
    def environments_folder(self) -> Path:
        return self.folder / "environments"

    @property
    def environments(self) -> set[str]:
        """The names in the folder of environments."""
        return {path.name for path in self.environments_folder.iterdir()}

    def run(self, version: str = "3.11.2") -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": f"{self.folder / 'fake'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "DIPDDPM_CI_ENVIRONMENTS": str(self.environments_folder),
            "CALLS": str(self.folder / "calls"),
            "TOOL": str(self.folder / "fake/tool"),
            "VERSION": version,
        }
        (self.folder / "calls").write_text("")
        command = ["bash", str(self.folder / "clone/.ci/run")]
        return subprocess.run(command, env=given, capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        """Return the calls of the last run, with "ENV" in place of the environment's folder."""
        (environment,) = {
            path
            for path in self.environments_folder.iterdir()
            if len(path.name) == len(OLD) and (path / "bin/python").is_file()
        }
        return (self.folder / "calls").read_text().replace(str(environment), "ENV").splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for name in ("fake", "clone", "environments"):
        (tmp_path / name).mkdir()
    shutil.copytree(CHECKOUT / ".ci", tmp_path / "clone/.ci")
    for name in ("constraints.txt", "README.md", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path / "clone")
    script(tmp_path / "fake/python3", PYTHON3)
    script(tmp_path / "fake/tool", TOOL)
    script(tmp_path / "fake/id", "#!/bin/sh\necho 1000\n")  # as root, the script would install packages
    return Checkout(tmp_path)


def folder_with(path: Path, *names: str) -> None:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text("mine")


def test_ci_run_leaves_developer_environment_and_other_folders_alone(checkout: Checkout) -> None:
    folder_with(checkout.folder / "clone/.venv", "pyvenv.cfg")
    foreign = {"photos", OLD[:-1], OLD.upper(), f"{OLD}0"}
    for name in foreign:
        folder_with(checkout.environments_folder / name, "pyvenv.cfg")
    folder_with(checkout.environments_folder / OLD[::-1], "no environment")
    folder_with(checkout.folder / "elsewhere", "pyvenv.cfg")
    (checkout.environments_folder / OLD.replace("0", "1")).symlink_to(checkout.folder / "elsewhere")
    folder_with(checkout.environments_folder / OLD, "pyvenv.cfg")
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    assert not (checkout.folder / "clone/.venv").is_symlink()
    assert [path.name for path in (checkout.folder / "clone/.venv").iterdir()] == ["pyvenv.cfg"]
    assert (checkout.folder / "elsewhere/pyvenv.cfg").is_file()
    stay = foreign | {OLD[::-1], OLD.replace("0", "1")}
    assert checkout.environments > stay
    (made,) = checkout.environments - stay
    assert made != OLD


def test_ci_run_reuses_environment_until_its_inputs_change(checkout: Checkout) -> None:
    def made(version: str = "3.11.2") -> str:
        done = checkout.run(version)
        assert done.returncode == 0, done.stderr
        (name,) = checkout.environments
        return name

    names = [made(), made(), made("3.12.1")]
    (checkout.folder / "clone/constraints.txt").write_text("torch==2.5\n")
    names.append(made("3.12.1"))
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert not (checkout.folder / "clone/.venv").exists()


def test_ci_run_calls_tools_and_readme_tests_in_environment(checkout: Checkout) -> None:
    readme = checkout.folder / "clone/README.md"
    readme.write_text(readme.read_text().replace("-m pytest", "-m pytest --special"))
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    calls = checkout.calls()
    assert calls[0] == f"{checkout.folder}/fake/python3 -m venv ENV"
    assert all(call.startswith("ENV/bin/python -m pip install") for call in calls[1:3])
    assert calls[1].endswith("--require-hashes -r constraints.txt")
    assert calls[2].endswith("--no-deps -e .")
    checks = ["ruff format --check .", "ruff check .", "codespell ", "mypy ", "lint-imports "]
    assert calls[3:9] == [f"ENV/bin/{check}" for check in [*checks, "zensical build --strict --clean"]]
    assert calls[-1].startswith("ENV/bin/python -m pytest --special")


def test_ci_run_fails_without_test_command_in_readme(checkout: Checkout) -> None:
    readme = checkout.folder / "clone/README.md"
    readme.write_text(readme.read_text().replace("<!-- tests -->", ""))
    done = checkout.run()
    assert done.returncode == 1
    assert "no test command" in done.stderr
