"""Redaction of secrets in every encoding."""

import base64
import json
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from weft.sources.http.redact import MARK, Redactor

SECRETS = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="*"), min_size=4
)
FORMS = st.sampled_from(
    [
        str,
        quote,
        quote_plus,
        lambda s: quote(s, safe="").lower(),
        lambda s: json.dumps(s)[1:-1],
        lambda s: repr(s.encode())[2:-1],
        lambda s: base64.b64encode(s.encode()).decode(),
    ]
)


@given(secret=SECRETS, form=FORMS, before=st.text(), after=st.text(), times=st.integers(1, 3))
def test_a_secret_is_replaced_in_every_encoding(
    secret: str, form: object, before: str, after: str, times: int
) -> None:
    assert callable(form)
    spelled = form(secret)
    redact = Redactor([SecretStr(secret)])
    text = before + (spelled + after) * times
    safe = redact(text)
    assert MARK in safe
    assert secret not in safe
    assert spelled.rstrip("=") not in safe
    assert redact.matches(text.encode(errors="replace"))


@given(text=st.text())
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    redact = Redactor([SecretStr("")])
    assert redact(text) == text
    assert not redact.matches(text.encode(errors="replace"))


def test_a_secret_containing_another_is_replaced_completely() -> None:
    assert Redactor([SecretStr("abc"), SecretStr("abcdef")])("x abcdef y") == f"x {MARK} y"


def test_credentials_of_basic_authentication_are_secrets() -> None:
    wrapped = base64.b64encode(b"an-id:pass+word/7").decode()
    redact = Redactor([SecretStr(wrapped)])
    redacted = redact(f"bad {wrapped}, bad pass+word/7, bad an-id:pass%2Bword%2F7, but an-id")
    assert redacted == "bad ***, bad ***, bad ***, but an-id"
    assert redact.matches(b'{"error": "pass+word\\/7"}')
    assert Redactor([SecretStr("c2hvcnQ6YQ==")])("a b c") == "a b c"
