"""Files: whole or not at all, and equal content gives equal bytes."""

import pytest

from integer_tickets.errors import UserError
from integer_tickets.files import read_json, replacing, write_bytes, write_json, write_text


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary != path and not temporary.exists()
        temporary.write_bytes(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half" and list(path.parent.iterdir()) == [path]


def test_the_old_content_stays_until_the_new_is_whole(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize("folder", [True, False])
def test_an_error_leaves_nothing_new_and_passes_on(tmp_path, old, folder):
    path = tmp_path / "file"
    if old is not None:
        write_bytes(path, old)
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        if folder:
            temporary.mkdir()
            (temporary / "part").write_bytes(b"new")
        else:
            temporary.write_bytes(b"new")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == ([] if old is None else [path])
    assert old is None or path.read_bytes() == old


def test_an_error_before_anything_is_written_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "file"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_can_be_made_whole_too(tmp_path):
    with replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "part").write_bytes(b"x")
    assert (tmp_path / "folder" / "part").read_bytes() == b"x" and len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_replaced_leaves_no_rest(tmp_path):
    (tmp_path / "file" / "full").mkdir(parents=True)
    with pytest.raises(OSError):
        write_bytes(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_text_is_utf_8_with_its_own_line_ends(tmp_path):
    write_text(tmp_path / "text", "ä\nb\r\n")
    assert (tmp_path / "text").read_bytes() == "ä\nb\r\n".encode()


def test_equal_values_give_equal_json(tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    write_json(one, {"b": [1, 2.5], "a": {"ü": None, "c": True}})
    write_json(other, {"a": {"c": True, "ü": None}, "b": [1, 2.5]})
    text = '{\n  "a": {\n    "c": true,\n    "ü": null\n  },\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    assert one.read_bytes() == other.read_bytes() == text.encode()
    assert read_json(one) == {"a": {"c": True, "ü": None}, "b": [1, 2.5]}


def test_what_is_no_json_is_not_written(tmp_path):
    write_json(tmp_path / "file.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"a": object()})
    assert read_json(tmp_path / "file.json") == 1 and len(list(tmp_path.iterdir())) == 1


def test_faults_in_reading_are_one_line(tmp_path):
    (tmp_path / "broken").write_bytes(b'{"a": ')
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, message in {"broken": "not valid JSON", "binary": "not valid JSON", "absent": "no such file"}.items():
        with pytest.raises(UserError) as error:
            read_json(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: {message}") and "\n" not in str(error.value)
