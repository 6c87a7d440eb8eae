"""Files that are read, checked and replaced: nothing that was there is lost, and nothing but files is replaced."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from msifr_policy.errors import InputError
from msifr_policy.files import check_writable, read_lines, replacing


def write(path: Path, content: str = "new") -> None:
    with replacing(path) as written:
        written.write_text(content)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, "old")

    def fails() -> None:
        with replacing(path) as written:
            written.write_text("ne")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert path.read_text() == "old"
    write(path)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write(tmp_path / "b" / "c" / "a")
    assert (tmp_path / "b" / "c" / "a").read_text() == "new"


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "second"
    target.write_text("old")
    link.symlink_to(target)
    second.symlink_to("link")
    write(second)
    assert second.is_symlink()
    assert link.is_symlink()
    assert target.read_text() == "new"
    (tmp_path / "dangling").symlink_to(tmp_path / "later" / "target")
    write(tmp_path / "dangling")
    assert (tmp_path / "later" / "target").read_text() == "new"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o751])
def test_permission_bits_are_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    plain = tmp_path / "plain"
    plain.write_text("")
    write(tmp_path / "fresh")
    assert (tmp_path / "fresh").stat().st_mode == plain.stat().st_mode


def devices() -> set[str]:
    return {f"{entry.name} {entry.stat().st_mode}" for entry in os.scandir("/dev") if not entry.is_symlink()}


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
@pytest.mark.parametrize("through_a_link", [False, True])
def test_devices_are_written_to_and_never_replaced(tmp_path: Path, through_a_link: bool) -> None:
    """`-o /dev/full` once made a file of the device."""
    before = devices()
    for name, says in (("full", "No space left"), ("null", None)):
        path = Path("/dev", name)
        if through_a_link:
            path = tmp_path / name
            path.symlink_to(f"/dev/{name}")
        check_writable(path)
        if says is None:
            write(path)
        else:
            with pytest.raises(InputError, match=rf"{path}: cannot be written: {says}.*\(make room"):
                write(path)
        assert path.is_char_device()
    assert devices() == before


@pytest.mark.skipif(os.name != "posix", reason="there are no named pipes")
def test_a_named_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.append(pipe.read_text()))
    reader.start()
    check_writable(pipe)
    write(pipe)
    reader.join(10)
    assert told == ["new"]
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there is no /dev/stdout")
@pytest.mark.parametrize("to_a_file", [False, True])
def test_standard_output_is_written_to(tmp_path: Path, to_a_file: bool) -> None:
    """Also where a shell has sent it to a file: another file in its place would lose what follows."""
    code = "from msifr_policy.files import replacing\nwith replacing('/dev/stdout') as path: path.write_text('new')"
    out = tmp_path / "out"
    with open(out, "wb") as file:
        inode = out.stat().st_ino
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", code], stdout=file if to_a_file else subprocess.PIPE, check=True
        )
    assert (out.read_bytes() if to_a_file else done.stdout) == b"new"
    assert out.stat().st_ino == inode
    assert os.listdir(tmp_path) == ["out"]


def test_folders_and_files_are_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for path, folder, says in [
        (tmp_path, False, "is a folder, where a file is meant .name a file"),
        (tmp_path / "file", True, "is a file, where a folder is meant .name a folder"),
        (tmp_path / "file" / "a", False, "below a file"),
        (tmp_path / "file" / "a" / "b", False, "below a file"),
        (tmp_path / "file" / "a", True, "below a file"),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            check_writable(path, folder=folder)
        assert caught.value.where == str(path)
        assert caught.value.remedy
        if not folder:
            with pytest.raises(InputError, match=says):
                write(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_check_makes_folders_and_nothing_else(tmp_path: Path) -> None:
    check_writable(tmp_path / "b" / "c" / "a.json")
    check_writable(tmp_path / "d" / "e", folder=True)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"b", "b/c", "d", "d/e"}
    (tmp_path / "a").write_text("old")
    before = (tmp_path / "a").stat()
    assert check_writable(tmp_path / "a") == (tmp_path / "a").resolve()
    assert (tmp_path / "a").stat() == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize("folder", [False, True])
def test_places_that_nobody_can_write_are_refused_before_any_work(folder: bool) -> None:
    """Permission bits do not tell: the superuser has them all."""
    with pytest.raises(InputError, match=r"/proc/a: cannot be written: .*\(name another place\)"):
        check_writable("/proc/a", folder=folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permission bits do not hold for the superuser")
def test_what_may_not_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b" / "a"
    write(path, "old")
    path.chmod(0o444)
    with pytest.raises(InputError, match="Permission denied"):
        write(path)
    path.chmod(0o644)
    path.parent.chmod(0o555)
    with pytest.raises(InputError, match="Permission denied"):
        check_writable(path)
    path.parent.chmod(0o755)
    assert path.read_text() == "old"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs the superuser's right to become another")
def test_what_another_may_not_write_is_refused(tmp_path: Path) -> None:
    """The same as a user without privileges, in a process of its own."""
    tmp_path.chmod(0o755)
    (tmp_path / "a").write_text("old")
    child = os.fork()
    if child == 0:
        refused = 0
        os.seteuid(65534)
        for path in (tmp_path / "a", tmp_path / "b", Path("/proc/self/../a")):
            try:
                check_writable(path)
            except InputError:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """The limit on the size of files stands for a disk without room."""
    code = f"""
import resource, signal
from pathlib import Path
from msifr_policy.errors import InputError
from msifr_policy.files import replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing({str(tmp_path / "a")!r}) as path:
        path.write_bytes(bytes(5000))
except InputError as error:
    print(error.what, error.remedy, sep="; ")
"""
    (tmp_path / "a").write_text("old")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout == "cannot be written: File too large; name another place\n"
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


LINES = ["a", "", "  ", "b\u2028c", "d\r"]


@pytest.mark.parametrize("pack", ["plain", "gzip", "gzip in members", "zstd", "zstd in frames"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_are_read_whatever_they_are_packed_in(tmp_path: Path, pack: str, mark: bytes) -> None:
    import pyarrow as pa

    def zstd(raw: bytes) -> bytes:
        return pa.Codec("zstd").compress(raw, asbytes=True)  # type: ignore[no-any-return]

    content = mark + "\n".join(LINES).encode()
    packed = {
        "plain": content,
        "gzip": gzip.compress(content),
        "gzip in members": gzip.compress(content[:4]) + gzip.compress(content[4:]),
        "zstd": zstd(content),
        "zstd in frames": zstd(content[:4]) + zstd(content[4:]),
    }
    path = tmp_path / "t"
    path.write_bytes(packed[pack])
    assert list(read_lines(path)) == [
        (f"{path}, line 1", b"a\n"),
        (f"{path}, line 4", "b\u2028c\n".encode()),
        (f"{path}, line 5", b"d\r"),
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_another_encoding_is_named_with_what_to_do(
    tmp_path: Path, encoding: str, mark: str, pack: Callable[[bytes], bytes]
) -> None:
    """With its mark or without, as an editor and as a program write it; the command that is named mends it."""
    text = json.dumps({"id": "é"}, ensure_ascii=False) + "\n"
    path = tmp_path / "t"
    path.write_bytes(pack((mark + text).encode(encoding)))
    name = encoding[:6].upper()
    with pytest.raises(InputError, match=rf"t, line 1: the text is encoded in {name} \(.*iconv -f {name} -t UTF-8\)"):
        list(read_lines(path))
    path.write_bytes(pack((mark + text).encode(encoding).decode(name if mark else encoding).encode()))
    assert [line for _, line in read_lines(path)] == [text.encode()]


def test_marks_of_byte_order_are_left_out_before_any_line(tmp_path: Path) -> None:
    """As where files that begin with one are joined; within a line they are text."""
    mark = "\ufeff"
    (tmp_path / "t").write_text(f"{mark}{mark}a\n{mark}\n{mark}b{mark}\n", encoding="utf-8")
    assert [line.decode() for _, line in read_lines(tmp_path / "t")] == ["a\n", f"b{mark}\n"]
    (tmp_path / "t").write_text(mark * 10**6, encoding="utf-8")
    assert list(read_lines(tmp_path / "t")) == []


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("t.jsonl", "{}")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("t.jsonl"))
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (bz2.compress(b"{}"), "compressed by bzip2, which is not read .*bunzip2"),
        (lzma.compress(b"{}"), "compressed by xz, which is not read .*unxz"),
        (lzma.compress(b"{}", format=lzma.FORMAT_ALONE), "compressed by LZMA, which is not read .*unlzma"),
        (b"\x04\x22\x4d\x18\x64\x40", "compressed by LZ4, which is not read .*unlz4"),
        (zipped(), "is a zip archive .*name the files in it"),
        (tarred(), "is a tar archive .*name the files in it"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "is a 7z archive"),
        (b"PAR1\x15\x00", "is a Parquet file.*lines=True"),
        (b"ARROW1\x00\x00", "is an Arrow file"),
        (b"SQLite format 3\x00", "is an SQLite database"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "pointer of Git LFS .*git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "is an HTML page"),
        (b"<html lang=en>", "is an HTML page"),
    ],
)
def test_what_holds_no_lines_is_named_with_what_to_do(
    tmp_path: Path, content: bytes, says: str, pack: Callable[[bytes], bytes]
) -> None:
    """Whatever the file is called."""
    (tmp_path / "t.jsonl").write_bytes(pack(content))
    with pytest.raises(InputError, match=rf"t\.jsonl, line 1: .*{says}") as caught:
        list(read_lines(tmp_path / "t.jsonl"))
    assert caught.value.remedy


def test_what_is_packed_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(gzip.compress(gzip.compress(b"{}")))
    with pytest.raises(InputError, match=r"packed twice by gzip .*gunzip"):
        list(read_lines(tmp_path / "t"))


def test_frames_without_data_are_passed_over(tmp_path: Path) -> None:
    """Some packers of Zstandard begin with one."""
    import pyarrow as pa

    frame = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"none"
    (tmp_path / "t").write_bytes(frame + pa.Codec("zstd").compress(b"a\n", asbytes=True))
    assert [line for _, line in read_lines(tmp_path / "t")] == [b"a\n"]


@pytest.mark.parametrize(
    ("packed", "by"),
    [
        (gzip.compress(b"a\nb\n" * 99, mtime=0)[:-9], "packed by gzip"),
        (b"\x28\xb5\x2f\xfd\x24\x00", "compressed by Zstandard"),
    ],
)
def test_a_file_that_is_cut_short_says_so(tmp_path: Path, packed: bytes, by: str) -> None:
    (tmp_path / "t").write_bytes(packed)
    with pytest.raises(InputError, match=rf"t, line \d+: {by}, it cannot be read: .*cut short"):
        list(read_lines(tmp_path / "t"))
    with pytest.raises(InputError, match=r"none: cannot be read"):
        list(read_lines(tmp_path / "none"))


def test_a_line_that_is_too_long_is_cut_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for length in (9, 10, 11, 20, 21, 22, 105):
        path.write_bytes(b"x" * length + b"\nnext\n")
        assert list(read_lines(path, longest=10)) == [
            (f"{path}, line 1", (b"x" * length + b"\n")[:11]),
            (f"{path}, line 2", b"next\n"),
        ]


def test_long_names_are_written(tmp_path: Path) -> None:
    """The longest name a file may have leaves no room for one beside it that is longer."""
    path = tmp_path / ("x" * 255)
    write(path)
    assert path.read_text() == "new"
    with pytest.raises(InputError, match="too long"):
        write(tmp_path / ("x" * 256))
    assert len(os.listdir(tmp_path)) == 1


def test_circles_of_links_and_names_of_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(InputError, match="circle"):
        write(tmp_path / "one")
    assert (tmp_path / "one").is_symlink()
    with pytest.raises(InputError, match="names a folder"):
        check_writable(f"{tmp_path}/new/")
    check_writable(f"{tmp_path}/new/", folder=True)
