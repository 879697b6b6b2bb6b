"""Where a study is kept, as sqlalchemy and Optuna take it."""

import pytest

from stridewise.study.store import _bare, _for_sqlalchemy


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("postgresql://me@host/studies", "postgresql+psycopg://me@host/studies"),
        ("postgres://me@host/studies", "postgresql+psycopg://me@host/studies"),
        ("sqlite:////tmp/a{b}c/study.db", "sqlite:////tmp/a{{b}}c/study.db"),
        ("sqlite:///plain.db", "sqlite:///plain.db"),
    ],
)
def test_a_url_is_rewritten_for_its_driver_and_for_formatting(url, taken):
    assert _for_sqlalchemy(url) == taken
    assert taken.format() == url.replace("postgresql:", "postgresql+psycopg:").replace(
        "postgres:", "postgresql+psycopg:"
    )


def test_a_password_is_not_shown():
    assert _bare("postgresql://me:secret@host/studies") == "postgresql://me@host/studies"
    assert _bare("sqlite:///plain.db") == "sqlite:///plain.db"
