"""What the name of a weight file means, its folders included."""

import pytest

from wanworker.text.weight_names import WeightPaths, below, having, meant

FILES = ["a/same.safetensors", "b/same.safetensors", "wan/b/one.safetensors", "Top.safetensors", "x/Top.safetensors"]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("a/same.safetensors", ["a/same.safetensors"]),
        ("b/same", ["b/same.safetensors"]),
        ("B\\same.safetensors", ["b/same.safetensors"]),
        (" ./b//same ", ["b/same.safetensors"]),
        ("same", ["a/same.safetensors", "b/same.safetensors"]),
        ("same.safetensors", ["a/same.safetensors", "b/same.safetensors"]),
        ("one", ["wan/b/one.safetensors"]),
        ("b\\ONE", ["wan/b/one.safetensors"]),
        ("a/one", []),
        ("c/same", []),
        ("Top", ["Top.safetensors"]),
        ("y/Top", []),
        ("same.pt", []),
        ("", []),
        ("/", []),
    ],
)
def test_a_name_means_the_files_whose_path_it_ends(name, files):
    assert meant(name, FILES) == files


def test_letters_count_only_where_they_tell_files_apart():
    files = ["Style.safetensors", "STYLE.safetensors"]

    assert meant("Style", files) == ["Style.safetensors"]
    assert meant("style", files) == sorted(files)
    assert meant("style", ["style.safetensors", "B/style.safetensors"]) == ["style.safetensors"]
    assert meant("STYLE", ["style.safetensors", "b/STYLE.safetensors"]) == ["b/STYLE.safetensors", "style.safetensors"]


def test_a_server_on_windows_has_backslashes():
    assert meant("b/same", ["a\\same.safetensors", "b\\same.safetensors"]) == ["b\\same.safetensors"]


def test_a_graphs_file_is_the_whole_path_only():
    assert WeightPaths(["wan/sub.safetensors"]).same("Wan\\sub.safetensors") == ["wan/sub.safetensors"]
    assert WeightPaths(["wan/sub.safetensors"]).same("sub.safetensors") == []


def test_a_part_is_looked_for_in_the_whole_path():
    assert having("B/o", FILES) == ["wan/b/one.safetensors"]
    assert having("", FILES) == []


@pytest.mark.parametrize("name", ["/work/models/loras/b/a.pt", "loras\\b\\a.pt", "b/a.pt"])
def test_what_leads_to_the_models_folder_says_nothing(name):
    assert below("loras", name) == "b/a.pt"


@pytest.mark.parametrize("name", ["Wan\\Sub.safetensors", "./wan//SUB.safetensors", "wan/sub", " wan/sub.safetensors "])
def test_every_spelling_of_a_path_finds_its_file(name):
    assert WeightPaths(["wan/sub.safetensors"]).same(name) == ["wan/sub.safetensors"]


@pytest.mark.parametrize("name", ["wan/sub2", "wan/sub2.2.pt"])
def test_what_is_no_ending_of_a_weight_file_belongs_to_the_name(name):
    assert WeightPaths(["wan/sub2.2.safetensors"]).same(name) == []
