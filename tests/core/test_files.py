"""Files are whole or not there; finished work is not replaced unasked."""

from __future__ import annotations

import hashlib

import pytest

from p5t5.core.errors import UserError
from p5t5.core.files import MARKS, atomic_path, atomic_write, check_free, digest, finished_work, sha256


def test_a_file_is_replaced_whole_with_its_rights(tmp_path):
    path = tmp_path / "new" / "file.txt"
    atomic_write(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    path.chmod(0o640)
    atomic_write(path, b"b")
    assert path.read_bytes() == b"b" and path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["file.txt"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.csv"
    atomic_write(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        assert temporary.suffix == ".csv" and temporary.parent == tmp_path
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_digests():
    assert digest("ä") == digest("ä".encode()) == hashlib.blake2b("ä".encode(), digest_size=8).hexdigest()


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 1000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 1000).hexdigest()


@pytest.mark.parametrize("mark", MARKS)
def test_each_mark_of_finished_work_is_found_and_named(mark, tmp_path):
    check_free(tmp_path / "absent", "x")
    check_free(tmp_path, "x")
    (tmp_path / "metrics.jsonl").write_text("")
    assert finished_work(tmp_path) is None
    (tmp_path / mark).write_text("{}")
    with pytest.raises(UserError, match=f"{mark}.*name another folder, or use --overwrite"):
        check_free(tmp_path, "use --overwrite")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_free(tmp_path / "x", "x")
