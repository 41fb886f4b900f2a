"""Key templates: what is filled in, and what is refused."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest

from streamtos3.cli.options.templates import (
    expand_template,
    own_values,
    template_values,
    time_values,
)
from streamtos3.errors import UsageError


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a/{date}.tar", "a/20260102.tar"),
        ("{date}{date}", "2026010220260102"),
        ("{{date}} }}{{", "{date} }{"),
        ("{env:HOME_OF}/x", "here/x"),
        ("{env:EMPTY}x", "x"),
        ("{env:BRACES}", "{date}"),
    ],
)
def test_names_are_filled_in_once(template: str, key: str) -> None:
    environment = {"HOME_OF": "here", "EMPTY": "", "BRACES": "{date}"}
    assert expand_template(template, {"date": "20260102"}, environment) == key


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{nope}", "the key asks for {nope}, which is not known"),
        ("{date:%Y}", "the key asks for {date:%Y}, which is not known"),
        ("{date!r}", "the key asks for {date}, which is not known"),
        ("{}", "the key asks for {}, which is not known"),
        ("{env}", "the key asks for {env}, which is not known"),
        ("{date.year}", "the key asks for {date.year}, which is not known"),
        ("{env:GONE}", "the key asks for the environment variable GONE, which is not set"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused(template: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        expand_template(template, {"date": "20260102"}, {})
    assert caught.value.message == message


@pytest.mark.parametrize("template", ["{date", "date}", "{", "}"])
def test_a_brace_alone_is_refused_and_the_way_out_is_told(template: str) -> None:
    with pytest.raises(UsageError, match="is not a valid template") as caught:
        expand_template(template, {"date": "20260102"}, {})
    assert caught.value.hint == "write {{ and }} for braces, or use --no-template"


def test_times_are_in_utc() -> None:
    late = datetime(2026, 12, 31, 23, 4, 5, tzinfo=timezone(timedelta(hours=-2)))
    assert time_values(late) == {
        "date": "20270101",
        "time": "010405",
        "year": "2027",
        "month": "01",
        "day": "01",
        "hour": "01",
    }


@pytest.mark.usefixtures("nameless_user")
def test_a_user_without_a_name_is_a_number() -> None:
    assert template_values()["user"] == str(os.getuid())


def test_two_keys_never_have_the_same_uuid() -> None:
    assert template_values()["uuid"] != template_values()["uuid"]


def test_own_names_are_values() -> None:
    assert own_values(["run=7", "stage=a=b"]) == {"run": "7", "stage": "a=b"}


@pytest.mark.parametrize("name", [*template_values(), "env"])
def test_an_own_name_hides_none_of_ours(name: str) -> None:
    with pytest.raises(UsageError, match=f"--var {name} would hide"):
        own_values([f"{name}=x"])


@pytest.mark.parametrize("name", ["a-b", "1a", "a b"])
def test_an_own_name_is_an_identifier(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid name"):
        own_values([f"{name}=x"])
