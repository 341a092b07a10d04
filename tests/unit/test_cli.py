"""The command line finds its verbs and speaks in one line when something is wrong."""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import onesearch_fast
from onesearch_fast.cli import main as cli

EXPECTED_VERBS = {
    "ablate",
    "align-embeddings",
    "bench",
    "build-sids",
    "demo",
    "doctor",
    "encode-items",
    "evaluate",
    "export",
    "refit-sids",
    "search",
    "train",
    "validate-data",
}


def test_every_verb_is_found_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = cli.discover_verbs()
    assert {verb.name for verb in verbs} == EXPECTED_VERBS
    for verb in verbs:
        with pytest.raises(SystemExit) as stop:
            cli.main([verb.name, "--help"])
        assert stop.value.code == 0
        assert verb.help in " ".join(capsys.readouterr().out.split())


def test_a_misspelt_verb_lists_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["serach"])
    assert stop.value.code == 2
    assert "search" in capsys.readouterr().err


@pytest.mark.parametrize("mistyped", ["--max-problem5", "--max-problem5=3"])
def test_a_mistyped_option_names_the_nearest(
    mistyped: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["validate-data", "folder", mistyped])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "usage: onesearch-fast validate-data" in error
    assert f"unrecognized arguments: {mistyped}; did you mean --max-problems?" in error


def test_known_errors_are_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise ValueError("data: expected a folder, got a file")

    verb = cli.Verb("fail", "fails", lambda parser: None, fail)
    monkeypatch.setattr(cli, "discover_verbs", lambda: [verb])
    assert cli.main(["fail"]) == 2
    assert "onesearch-fast fail: data: expected a folder, got a file" in capsys.readouterr().err
    monkeypatch.setattr(cli, "discover_verbs", lambda: [replace(verb, name="data")])
    assert cli.main(["data"]) == 2
    assert "onesearch-fast data: expected a folder" in capsys.readouterr().err
    monkeypatch.setattr(cli, "discover_verbs", lambda: [verb])
    monkeypatch.setenv("ONESEARCH_DEBUG", "1")
    with pytest.raises(ValueError, match="expected a folder"):
        cli.main(["fail"])


def test_an_ablation_without_beams_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ablate", "--out", str(tmp_path / "out"), "--num-beams", "0"]) == 2
    assert "ablate: --num-beams: expected an integer of at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_export_of_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "export: RUN: expected the run folder of a finished train" in capsys.readouterr().err


def interrupt(*_: object) -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize("resumes", [True, False])
def test_an_interrupted_verb_says_whether_it_can_go_on(
    resumes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = cli.Verb("wait", "waits", lambda parser: None, interrupt, resumes)
    monkeypatch.setattr(cli, "discover_verbs", lambda: [verb])
    assert cli.main(["wait"]) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["the same command again goes on from here"] * resumes + ["interrupted"]


def test_an_interrupt_before_the_verb_runs_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "discover_verbs", interrupt)
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert onesearch_fast.__version__ in capsys.readouterr().out


def test_a_verb_without_its_packages_says_so_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = cli.importlib.import_module

    def without_faiss(name: str) -> object:
        if name == "onesearch_fast.cli.build_sids":
            raise ModuleNotFoundError("No module named 'faiss'", name="faiss")
        return load(name)

    monkeypatch.setattr(cli.importlib, "import_module", without_faiss)
    assert {verb.name for verb in cli.discover_verbs()} == EXPECTED_VERBS
    assert cli.main(["build-sids", "data", "--json"]) == 2
    message = capsys.readouterr().err
    assert "No module named 'faiss'" in message
    assert "pip install 'onesearch-fast[train]'" in message


def test_options_may_stand_between_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("folder")
        parser.add_argument("words", nargs="*")
        parser.add_argument("-k", type=int, default=10)

    def run(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 0

    monkeypatch.setattr(cli, "discover_verbs", lambda: [cli.Verb("v", "v", add_arguments, run)])
    for words in (["f", "-k", "5", "a", "b"], ["-k", "5", "f", "a", "b"], ["f", "a", "b", "-k5"]):
        assert cli.main(["v", *words]) == 0
        assert (seen[-1].folder, seen[-1].words, seen[-1].k) == ("f", ["a", "b"], 5)


def test_a_reader_that_leaves_is_no_error() -> None:
    script = (
        "import sys; from onesearch_fast.cli import main as cli\n"
        "talk = lambda arguments: [print(i) for i in range(10**6)] and 0\n"
        "verb = cli.Verb('v', 'v', lambda parser: None, talk)\n"
        "cli.discover_verbs = lambda: [verb]; sys.exit(cli.main(['v']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""


def run_module(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onesearch_fast", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_package_runs_as_the_program_does(tmp_path: Path) -> None:
    done = run_module("--version")
    assert (done.returncode, done.stdout) == (0, f"onesearch-fast {onesearch_fast.__version__}\n")
    done = run_module("export", str(tmp_path), "--out", "out")
    assert done.returncode == 2
    assert done.stderr.startswith("onesearch-fast export: RUN: expected the run folder")


def run_help(*words: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys, onesearch_fast.cli.main as cli\n"
        "try:\n    cli.main(sys.argv[1:])\n"
        "except SystemExit:\n    sys.exit(int('torch' in sys.modules))"
    )
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", [None, *sorted(EXPECTED_VERBS)])
def test_help_is_read_without_torch(verb: str | None) -> None:
    done = run_help("--help") if verb is None else run_help(verb, "--help")
    assert "usage: onesearch-fast" in done.stdout
    assert done.returncode == 0, "torch was imported"


def test_a_package_missed_while_a_verb_runs_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise ModuleNotFoundError("No module named 'rich'", name="rich")

    monkeypatch.setattr(cli, "discover_verbs", lambda: [cli.Verb("v", "v", lambda _: None, run)])
    assert cli.main(["v"]) == 2
    assert "No module named 'rich'; install it with pip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "data", "--run", "file"], "train: --run: expected a folder to write"),
        (["demo", "--data", "data", "--run", "file"], "demo: --run: expected a folder to write"),
        (["demo", "--run", "file/within"], "demo: --run: expected a folder to write, got the file"),
        (["ablate", "--out", "file"], "ablate: --out: expected a folder to write, got the file"),
        (["evaluate", "s", "--data", "d", "--out", "file/a/b"], "got the file file; name a new"),
        (["export", "run", "--out", "file"], "export: --out: expected a folder to write, got the"),
        (["train", "data", "--run", "r", "--config", "."], "--config: expected a file to read"),
        (["train", "data", "--run", "r", "--config", "no"], "got no, which does not exist; name"),
        (["encode-items", "data", "--sids", "s", "--out", "."], "--out: expected a file to write"),
    ],
)
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_refused_first(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
