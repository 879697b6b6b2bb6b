"""Output files: whole or not at all onto regular files, straight into the rest; a lost standard output is told."""

import errno
import io
import os
import stat
import subprocess
import sys
import threading

import pytest

from stridewise.cli import main
from stridewise.errors import PlanError, StridewiseError
from stridewise.files import read_bytes, staging, whole, write_bytes, write_text
from stridewise.plans import Plan


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "new.txt", "words")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o640
    assert names(tmp_path) == ["new.txt"]


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_there_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "plan.toml"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link.toml", tmp_path / "far" / "plan.toml"
    link.symlink_to(target)
    write_text(link, "first")  # it may lead nowhere yet
    write_text(link, "second")
    assert link.is_symlink()
    assert target.read_text() == "second"
    assert names(tmp_path / "far") == ["plan.toml"]


def read_later(path):
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    return reader, got


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader, got = read_later(path)
    write_bytes(path, b"content")
    reader.join(5)
    assert got == [b"content"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_a_pipe_takes_what_a_writer_of_files_makes(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for write in (whole, staging):
        reader, got = read_later(path)
        with write(path) as place:
            (place / path.name if write is staging else place).write_bytes(b"model")
        reader.join(5)
        assert got == [b"model"]
    wanted = r"pipe: cannot be written: it comes with pipe\.data, which has no place"
    with pytest.raises(PlanError, match=wanted), staging(path, error=PlanError) as place:
        (place / "pipe.data").write_bytes(b"weights")


def test_files_that_belong_together_take_their_places_together(tmp_path):
    with staging(tmp_path / "m.onnx") as place:
        (place / "m.onnx").write_bytes(b"m")
        (place / "m.onnx.data").write_bytes(b"d")
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail():
        with whole(path, "the weights", advice="Try another disk") as place:
            place.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(StridewiseError, match=r"a\.bin: the weights cannot be written: No space left on device\. Try"):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_folder_and_a_missing_folder_are_told(tmp_path):
    with pytest.raises(StridewiseError, match="cannot be written: Is a directory"):
        write_text(tmp_path, "words")
    with pytest.raises(StridewiseError, match="cannot be written: No such file or directory"):
        write_text(tmp_path / "none" / "a.txt", "words")
    assert not names(tmp_path)


def start(arguments, **options):
    code = "import sys; from stridewise.cli import main; main(sys.argv[1:])"
    return subprocess.run([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, **options)


def test_a_closed_standard_output_is_an_error():
    done = start(["ops", "--json"], preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: standard output is closed\n")


@pytest.mark.parametrize("fails", ["write", "flush"])
def test_a_full_standard_output_is_an_error(monkeypatch, capsys, fails):
    class Full(io.StringIO):
        def write(self, text):
            return super().write(text) if fails == "flush" else self.refuse()

        def flush(self):
            if fails == "flush" and self.getvalue():
                self.refuse()

        def refuse(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(SystemExit) as stop:
        main(["ops", "--json"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: the output cannot be written: No space left on device\n"


def test_a_reader_that_has_enough_ends_the_command_quietly():
    read, write = os.pipe()
    os.close(read)
    done = start(["ops", "--json"], stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_debug_behind_two_dashes_is_an_argument(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["show", "--", "--debug"])
    assert stop.value.code in (1, 2)
    assert "--debug" in capsys.readouterr().err


class TestReading:
    def test_what_has_no_end_or_no_writer_is_refused_at_once(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.toml")
        with pytest.raises(OSError, match="a pipe that nobody writes to"):
            read_bytes(tmp_path / "pipe.toml")
        with pytest.raises(OSError, match="larger than 1 MiB"):
            read_bytes("/dev/zero", 1 << 20)
        with pytest.raises(PlanError, match=r"pipe.toml: not a readable plan: a pipe that nobody writes to"):
            Plan.read(tmp_path / "pipe.toml")

    def test_a_pipe_is_read_to_its_end_however_late_it_comes(self, tmp_path):
        out, into = os.pipe()
        writer = threading.Timer(0.05, lambda: (os.write(into, b"late"), os.close(into)))
        writer.start()
        try:
            assert read_bytes(f"/dev/fd/{out}") == b"late"
        finally:
            writer.join()
            os.close(out)
