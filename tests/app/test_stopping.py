"""Progress as it is seen on a terminal and in a log, tables that fit, and stopping politely or at once."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from rich.console import Console

from matterloop.app import cli as module
from matterloop.app.progress import Bars, Lines, clock, pace, watching
from matterloop.campaign.watch import Watch


def test_listing_and_help_do_not_load_torch():
    program = ("import sys, matterloop; assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
               "from matterloop.app.cli import app\nfrom typer.testing import CliRunner\n"
               "for args in (['--help'], ['models', '--json'], ['data', 'list', '--json']):\n"
               "    r = CliRunner().invoke(app, args); assert r.exit_code == 0, r.exception\n"
               "    print(args[0], [m for m in ('torch', 'pandas', 'pymatgen', 'ase', 'sqlalchemy.orm') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != "MATTERLOOP_DATA"})
    assert done.stdout.splitlines() == ["--help []", "models []", "data []"], done.stdout + done.stderr


def test_rates_and_times_are_readable():
    assert [pace(x) for x in (12.34, 1.0, 0.5, 0.001, 0.0)] == ["12.3/s", "1.0/s", "30.0/min", "0.1/min", ""]
    assert [clock(x) for x in (0.2, 59.6, 61, 3661)] == ["0:00", "1:00", "1:01", "1:01:01"]


def test_without_a_terminal_each_stage_is_one_line_and_a_long_one_tells_its_rate():
    said = []
    lines = Lines(said.append, every=0.0)
    lines.stage("relax", 10)
    lines.advance("relax", 4)  # done by an earlier session
    time.sleep(0.2)
    lines.advance("relax", 5)
    lines.stage("report", 1)
    lines.advance("report", 1)
    lines.end()
    assert re.fullmatch(r"relax: 5 of 10, [2-5]\.\d/s, about 0:0[12] left", said[-3]), said
    assert re.fullmatch(r"relax: 5 of 10 in 0:00 \(\d\.\d/s\)", said[-2]) and said[-1] == "report: done in 0:00"


def test_bars_show_count_rate_and_time_left_within_80_columns():
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=80, color_system=None))
    bars.stage("relax", 30)
    for done in (1, 2, 3):
        time.sleep(0.15)
        bars.advance("relax", done)
    time.sleep(0.3)
    bars.end()
    lines = [x for x in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines() if "3/30" in x]
    assert lines and re.search(r"relax .* 3/30 +\d\.\d/s 0:00:0\d left 0:00:0\d", lines[-1]), screen.getvalue()
    assert all(len(x) <= 80 for x in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_stops_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), watching(quiet=True) as watch:
        assert not watch.stop()
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert watch.stop()
        os.kill(os.getpid(), number)
        time.sleep(0.01)
    assert signal.getsignal(number) == before


def test_a_run_stopped_politely_writes_its_report_says_how_to_go_on_and_ends_with_130(cli, tmp_path, monkeypatch):
    @contextmanager
    def impatient(quiet=False):
        polls = iter(range(10**6))
        yield Watch(stop=lambda: next(polls) > 3)

    folder = tmp_path / "run"
    args = ("binary lithium oxides", "--count", 3, "--no-lookup", "--quiet", "--json")
    with monkeypatch.context() as m:
        m.setattr("matterloop.app.progress.watching", impatient)
        code, _, err = cli("discover", *args, "--out", folder)
        assert code == 130 and f"matterloop resume {folder}" in err and "not finished" in (folder / "report.html").read_text()
        # again and again: each session gets a little further or at least loses nothing
    code, out, err = cli("resume", folder, "--no-lookup", "--quiet", "--json")
    assert code == 0 and "not finished" not in err
    code, whole, _ = cli("discover", *args, "--out", tmp_path / "whole")
    assert code == 0 and out.splitlines()[:-1] == whole.splitlines()[:-1], "all but the last object, which is the cost"


def test_time_that_is_up_is_no_failure_and_more_can_be_given(cli, tmp_path):
    code, out, err = cli("discover", "binary lithium oxides", "--seconds", 1, "--no-lookup", "--quiet", "--out", tmp_path / "run")
    assert code == 0 and f"matterloop resume {tmp_path / 'run'} --seconds 1" in err
    code, _, again = cli("resume", tmp_path / "run", "--no-lookup", "--quiet", "--seconds", 1)
    assert code == 0 and "--seconds" in again


def test_tables_fit_80_columns_and_keep_keys_whole(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"rank": i, "formula": "Li4(TiBi2)2", "group": "P2_1/c", "atoms": 12, "eV/atom": 0.0123, "likely": "38%*", "verdict": "not: hull, novel, relaxation",
             "key": f"substitution-123491-{i}"} for i in (1, 22)]
    module.emit(rows, False, tuple(rows[0]))
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines()) and "substitution-123491-22" in out and "[" not in out


def test_text_that_looks_like_markup_is_shown_as_it_is(capsys):
    module.emit([{"file": "[red]a[/red].cif", "error": "bad [/] tag"}], False)
    assert "[red]a[/red].cif" in capsys.readouterr().out


def test_a_closed_pipe_is_no_traceback():
    done = subprocess.run(f"{sys.executable} -m matterloop models --json | head -n 1", shell=True, capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and not done.stderr
