"""The page that lists the packages the course depends on."""

import re
import tomllib
from importlib import metadata
from itertools import chain

import pytest

from book._ext import licences
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class About(dict):
    """Metadata of a package, with the interface of importlib."""

    def get_all(self, name):
        return self.get(name)


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"License-Expression": "MIT", "License": "something"}, "MIT"),
        (
            {
                "Classifier": ["License :: OSI Approved :: MIT License", "Topic :: x"],
                "License": "x",
            },
            "MIT License",
        ),
        ({"License": "Apache"}, "Apache"),
        (
            {"License": "Permission is hereby granted, free of charge, to any person"},
            "not stated in its metadata",
        ),
        ({"License": "UNKNOWN"}, "not stated in its metadata"),
        ({}, "not stated in its metadata"),
    ],
)
def test_the_licence_is_the_one_in_the_metadata(monkeypatch, about, name):
    monkeypatch.setattr(licences.metadata, "metadata", lambda package: About(about))
    assert licences.licence("any") == name


def test_every_required_package_is_listed_with_its_licence(page, site):
    page.goto(f"{site}/book/credits.html")
    rows = [row.split("\t") for row in page.locator("article table tbody tr").all_inner_texts()]
    listed = {name.strip(): [cell.strip() for cell in rest] for name, *rest in rows}
    requirements = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    required = {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements} - {
        PROJECT["name"]
    }
    assert listed.keys() == required
    for name, (version, licence, _) in listed.items():
        assert version == metadata.version(name)
        assert licence == licences.licence(name)
    assert listed["hypothesis"][1:] == ["MPL-2.0", "test"]
    assert listed["torch"][2] == "the course"
