"""botocore's data files by the short way: the same as by its own."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.exceptions
import botocore.loaders
import botocore.session
import pytest

from streamtos3.s3.botocore_tuning import read_quickly


@pytest.fixture(autouse=True)
def a_loader_for_each_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other tests share one."""
    monkeypatch.setattr("botocore.session.create_loader", botocore.loaders.create_loader)


def quick() -> Any:
    session = botocore.session.Session()
    read_quickly(session)
    return session


def in_order(data: Any) -> Any:
    """Dictionaries as lists of pairs, so that their order is compared too."""
    if isinstance(data, dict):
        return [(name, in_order(value)) for name, value in data.items()]
    return [in_order(each) for each in data] if isinstance(data, list) else data


@pytest.mark.parametrize("path", ["endpoints", "partitions", "sdk-default-configuration"])
def test_a_file_is_what_botocore_reads(path: str) -> None:
    ordinary, short = botocore.session.Session().get_data(path), quick().get_data(path)
    assert in_order(short) == in_order(ordinary)
    assert type(short) is dict


@pytest.mark.parametrize("type_name", ["service-2", "endpoint-rule-set-1", "paginators-1"])
@pytest.mark.parametrize("service", ["s3", "sts"])
def test_a_model_is_what_botocore_reads(service: str, type_name: str) -> None:
    ordinary, short = (
        session.get_component("data_loader").load_service_model(service, type_name)
        for session in (botocore.session.Session(), quick())
    )
    assert in_order(short) == in_order(ordinary)


def test_no_more_directories_are_listed_than_that_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: set[str] = set()
    true_listdir = os.listdir

    def listdir(path: str = ".") -> list[str]:
        if Path(path).is_relative_to(botocore.loaders.Loader.BUILTIN_DATA_PATH):
            listed.add(Path(path).name)
        return true_listdir(path)

    monkeypatch.setattr(os, "listdir", listdir)
    quick().create_client("s3", region_name="us-east-1")
    assert listed == {"s3"}


def test_credentials_that_come_from_another_service_can_still_be_asked_for() -> None:
    assert quick().create_client("sts", region_name="us-east-1").meta.service_model


def test_a_service_that_is_none_is_still_unknown() -> None:
    with pytest.raises(botocore.exceptions.UnknownServiceError):
        quick().create_client("none-such", region_name="us-east-1")


def test_a_service_without_rules_for_its_endpoints_still_gets_a_client(tmp_path: Path) -> None:
    """As one whose model a user has added: botocore falls back where it finds no rules."""
    session = quick()
    loader = session.get_component("data_loader")
    source = Path(loader.BUILTIN_DATA_PATH) / "sts" / "2011-06-15"
    (tmp_path / "mine" / "2011-06-15").mkdir(parents=True)
    for file in source.glob("service-2.json*"):
        (tmp_path / "mine" / "2011-06-15" / file.name).write_bytes(file.read_bytes())
    loader.search_paths.insert(0, str(tmp_path))
    assert session.create_client("mine", region_name="us-east-1").meta.endpoint_url


@pytest.mark.parametrize("name_end, open_file", [(".json", open), (".json.gz", gzip.open)])
def test_what_a_user_has_put_in_place_of_a_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name_end: str, open_file: Any
) -> None:
    with open_file(tmp_path / f"partitions{name_end}", "wb") as file:
        file.write(json.dumps({"partitions": "mine €"}).encode())
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert quick().get_data("partitions") == {"partitions": "mine €"}


@pytest.mark.parametrize("known", [{}, {"file_loader": None}, {"list_api_versions": None}])
def test_a_botocore_that_is_built_otherwise_is_left_alone(known: dict[str, Any]) -> None:
    loader = SimpleNamespace(**known)
    read_quickly(SimpleNamespace(get_component=lambda name: loader))  # type: ignore[arg-type]
    assert vars(loader) == known


def test_files_of_another_kind_are_left_to_botocore() -> None:
    files = SimpleNamespace(load_file=lambda path: f"{path}.cbor")
    loader = SimpleNamespace(file_loader=files, list_api_versions=None)
    read_quickly(SimpleNamespace(get_component=lambda name: loader))  # type: ignore[arg-type]
    assert files.load_file("endpoints") == "endpoints.cbor"
