"""Passwords in texts that are shown or stored: URLs keep their shape, what is secret in them becomes ``***``.

A storage's URL is typed on the command line, and from there it comes into messages, reports and tracebacks; drivers
tell the decoded password where the URL has it percent-encoded. So texts are masked by their form and by what is known.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,50}:/\S+|(?<![\w/])//\S+|[A-Za-z][A-Za-z0-9+.-]{0,50}//\S+")
"""also with a slash or a colon forgotten: a mistyped URL is told in the message that it is none"""
_USER: Final = re.compile(r"(//?)([^\s/:@]*)(:|%3a)(\S*)@", re.IGNORECASE)
"""up to the last @: a password may hold one, or a slash, where somebody did not encode it"""
_KEY: Final = re.compile(
    r"""((?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key|access_?key|credentials?)[\w.-]{0,50})
        (\s*=\s*|(?:%20|\+)*%3d(?:%20|\+)*)
        (\{[^}]{0,300}\}|%7b.{0,300}?%7d|(?:(?!%3b|%26|%00)[^\s&;'"\#,])*)""",
    re.IGNORECASE | re.VERBOSE,
)
"""a key of a query, or of what ODBC has percent-encoded in one: ``odbc_connect=UID%3Du%3BPWD%3Dsecret``"""
_NAME: Final = re.compile(
    r"pass(?:word|wd|phrase)?(?:_|\Z)|pwd|secret|token(?!izer|s\b|s_)|api_?key|access_?key|private_?key|(?:\A|_)key\Z"
    r"|credential|auth(?!or)|cookie|(?:\A|_)pat\Z|dsn\Z",
    re.IGNORECASE,
)
_OPTION: Final = re.compile(r"--?([A-Za-z][\w.-]{0,100})(?:=(.*))?", re.DOTALL)
_ASSIGNED: Final = re.compile(r"(?:^|[\s;&])-{0,2}(\w[\w-]{0,100})=(\S+)", re.MULTILINE)


def masked(text: str, *, known: Iterable[str] = ()) -> str:
    """The text without the passwords of the URLs in it, nor those that are ``known``.

    Args:
        known: secrets by themselves, as ``secrets_in`` finds them.
    """
    known = tuple(known)
    text = _without(text, [secret for secret in known if " " in secret])  # in which a URL in the text seems to end
    parts, end = [], 0
    for match in _URL.finditer(text):
        parts += [_without(text[end : match.start()], known), _masked_url(match[0])]
        end = match.end()
    return "".join([*parts, _without(text[end:], known)])


def looks_secret(name: str, value: str = "") -> bool:
    """Whether a variable of the environment seems to hold a secret: by its name, or by a password in its URL."""
    return _NAME.search(name) is not None or masked(value) != value


def assigns_secret(script: str) -> bool:
    """Whether a line of shell seems to set such a variable."""
    return any(_is_secret(match[1], match[2]) for match in _ASSIGNED.finditer(script))


def masked_words(words: Iterable[str]) -> tuple[str, ...]:
    """The words of a command without what seems to be secret in them: ``--api-key=...``, ``--token ...``, ``KEY=...``.

    A word stays a word: what is masked is its value, and the passwords of URLs.
    """
    told: list[str] = []
    for word in words:
        option = _OPTION.fullmatch(told[-1]) if told else None
        if option is not None and option[2] is None and not word.startswith("-") and _is_secret(option[1]):
            told.append(MASK)
            continue
        option = _OPTION.fullmatch(word)
        if option is not None and option[2] is not None and _is_secret(option[1]):
            told.append(f"{word[: option.start(2)]}{MASK}")
            continue
        told.append(masked(_ASSIGNED.sub(_masked_value, word)))
    return tuple(told)


def _is_secret(name: str, value: str = "") -> bool:
    return looks_secret(name.replace("-", "_"), value)


def _masked_value(match: re.Match[str]) -> str:
    whole = match[0]
    return f"{whole[: -len(match[2])]}{MASK}" if _is_secret(match[1], match[2]) else whole


def secrets_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The passwords of the URLs in texts, as they are written and decoded; the longest first."""
    found: set[str] = set()
    for text in texts:
        is_url = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
        for url in [match[0] for match in _URL.finditer(text)] + ([_spaces_encoded(text)] if is_url else []):
            for match in (*_USER.finditer(_up_to_at(url)), *_KEY.finditer(_user_replaced(r"\1", url))):
                written = match[match.re.groups]
                for plain in (urllib.parse.unquote(written), urllib.parse.unquote_plus(written), written):
                    secret = plain.strip("{}")  # of ODBC, around what holds signs of its own
                    found |= {secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe="")}
                    found.add(urllib.parse.quote_plus(secret))
    # what is shorter is a part of too many words; in URLs it is masked by its place
    return tuple(sorted((one for one in found - {MASK} if len(one) > 2), key=len, reverse=True))


def _spaces_encoded(text: str) -> str:
    """A whole argument is one URL, whatever spaces are in it."""
    return re.sub(r"\s", lambda space: urllib.parse.quote(space[0]), text)


def _up_to_at(url: str) -> str:
    """Where a user may stand: behind the last @ every slash would be tried up to the end."""
    return url[: url.rfind("@") + 1]


def _user_replaced(by: str, url: str) -> str:
    start = _up_to_at(url)
    return _USER.sub(by, start, count=1) + url[len(start) :]


def _masked_url(url: str) -> str:
    return _KEY.sub(rf"\1\2{MASK}", _user_replaced(rf"\1\2\3{MASK}@", url))


def _without(text: str, known: Iterable[str]) -> str:
    for secret in known:
        if secret in text:
            # a short one may be a part of a word that means something else
            pattern = rf"(?<!\w){re.escape(secret)}(?!\w)" if len(secret) < 6 else re.escape(secret)
            text = re.sub(pattern, MASK, text)
    return text
