"""Access tokens, cookies, throttle rules: what needs no database."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from app.domain.errors import PlumblineError
from app.services.identity import words
from app.services.identity.errors import NotSignedIn
from app.services.identity.sessions import SessionCache, cookie_name, cookie_value
from app.services.identity.throttle import PER_EMAIL, email_bucket, in_words
from app.services.identity.tokens import REQUIRED, access_token, read_access_token
from app.services.identity.viewer import Role, Viewer

KEY = b"k" * 32
NOW_S = 1_790_000_000


def _claims() -> dict[str, Any]:
    token = access_token(7, key=KEY, now_s=NOW_S)
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))  # type: ignore[no-any-return]


def _signed(claims: dict[str, Any], key: bytes = KEY, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def test_a_token_says_who_for_ten_minutes_and_no_more_about_him() -> None:
    claims = _claims()

    assert read_access_token(_signed(claims), key=KEY, now_s=NOW_S + 599.9)["sub"] == "7"
    assert set(claims) == set(REQUIRED)
    assert claims["exp"] - claims["iat"] == 600


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_token_without_one_of_its_claims_is_refused(missing: str) -> None:
    claims = {name: value for name, value in _claims().items() if name != missing}

    with pytest.raises(NotSignedIn):
        read_access_token(_signed(claims), key=KEY, now_s=NOW_S)


@pytest.mark.parametrize(
    "change",
    [
        {"typ": "refresh"},
        {"aud": "another"},
        {"iss": "another"},
        {"sub": "-7"},
        {"sub": "7; drop"},
        {"sub": "٧"},
        {"sub": 7},
        {"exp": NOW_S},
        {"exp": "9999999999"},
        {"exp": 1e400},
        {"nbf": NOW_S + 1},
        {"iat": NOW_S + 1},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(NotSignedIn):
        read_access_token(_signed({**_claims(), **change}), key=KEY, now_s=NOW_S)


def test_a_token_signed_otherwise_is_refused() -> None:
    claims = _claims()
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    body = _signed(claims).split(".")[1]
    forged = [f"{head}.{body}.", _signed(claims, b"x" * 64), _signed(claims, KEY * 2, "HS512"), "", "a.b", "ü.ü.ü"]

    for token in forged:
        with pytest.raises(NotSignedIn):
            read_access_token(token, key=KEY, now_s=NOW_S)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("plumbline=abc", "abc"),
        ("a=1; plumbline=abc; b=2", "abc"),
        ("a=1;plumbline=abc", "abc"),
        ("xplumbline=abc", ""),
        ("plumbline", ""),
        ("", ""),
        (';;="\\;plumbline=abc', "abc"),
    ],
)
def test_the_cookie_is_found_in_any_header(header: str, value: str) -> None:
    assert cookie_value(header, "plumbline") == value


def test_over_https_the_cookie_is_bound_to_its_host() -> None:
    assert cookie_name("https://a.example") == "__Host-plumbline"
    assert cookie_name("http://127.0.0.1:8000") == "plumbline"


def test_a_cached_session_is_believed_for_less_than_five_seconds() -> None:
    cache, viewer = SessionCache(), Viewer(7, "a@example.com", Role.TRADER)
    cache.put("h", viewer, now_ms=0)

    assert cache.get("h", 4_999) == viewer
    assert cache.get("h", 5_000) is None
    cache.forget_user(7)
    assert cache.get("h", 0) is None


def test_each_wrong_try_doubles_the_wait_up_to_a_quarter_of_an_hour() -> None:
    waits = [PER_EMAIL.wait_s(count) for count in range(20)]

    assert waits[:9] == [0, 0, 0, 0, 0, 1, 2, 4, 8]
    assert max(waits) == 900
    assert PER_EMAIL.wait_s(10**9) == 900


def test_a_counter_is_named_by_a_hash_whatever_was_typed() -> None:
    names = {email_bucket("login", email).name for email in (" A@b.c", "a@B.c ", "a@b.c")}

    assert len(names) == 1
    assert len(email_bucket("login", "\ud800" * 10_000).name) < 60


@pytest.mark.parametrize(
    ("seconds", "said"), [(1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (61, "2 minutes")]
)
def test_a_wait_is_said_in_words(seconds: int, said: str) -> None:
    assert in_words(seconds) == said


def test_a_form_error_is_one_of_our_sentences_whatever_the_address_says() -> None:
    assert words.form_error("") == ""
    assert words.form_error("wait", "32") == "Too many attempts. Please wait 32 seconds and try again."
    for wild in ("<script>", "99999999999999999999", "٣"):
        assert wild not in words.form_error(wild) + words.form_error("wait", wild)


def test_every_identity_error_is_one_of_the_house() -> None:
    assert issubclass(NotSignedIn, PlumblineError)
