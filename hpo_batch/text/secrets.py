"""Masks passwords in text that is shown or stored; in a URL only the secret part becomes ``***``.

Storage URLs on the command line end up in messages, reports and tracebacks, and database drivers show the decoded
password where the URL has it percent-encoded. So text is masked both by pattern and by known secrets.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"
# including URLs with a missing slash or colon: error messages quote mistyped URLs
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,50}:/\S+|(?<![\w/])//\S+|[A-Za-z][A-Za-z0-9+.-]{0,50}//\S+")
# up to the last @, since an unencoded password may contain @ or a slash
_USER: Final = re.compile(r"(//?)([^\s/:@]*)(:|%3a)(\S*)@", re.IGNORECASE)
# a secret in a query string, also percent-encoded inside a value (ODBC): ``odbc_connect=UID%3Du%3BPWD%3Dsecret``
_KEY: Final = re.compile(
    r"""((?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key|access_?key|credentials?)[\w.-]{0,50})
        (\s*=\s*|(?:%20|\+)*%3d(?:%20|\+)*)
        (\{[^}]{0,300}\}|%7b.{0,300}?%7d|(?:(?!%3b|%26|%00)[^\s&;'"\#,])*)""",
    re.IGNORECASE | re.VERBOSE,
)
_NAME: Final = re.compile(
    r"pass(?:word|wd|phrase)?(?:_|\Z)|pwd|secret|token(?!izer|s\b|s_)|api_?key|access_?key|private_?key|(?:\A|_)key\Z"
    r"|credential|auth(?!or)|cookie|(?:\A|_)pat\Z|dsn\Z",
    re.IGNORECASE,
)
_OPTION: Final = re.compile(r"--?([A-Za-z][\w.-]{0,100})(?:=(.*))?", re.DOTALL)
_ASSIGNED: Final = re.compile(r"(?:^|[\s;&])-{0,2}(\w[\w-]{0,100})=(\S+)", re.MULTILINE)


def masked(text: str, *, known: Iterable[str] = ()) -> str:
    """Mask the passwords in all URLs, and the ``known`` secrets.

    Args:
        text: any text.
        known: secrets, from ``secrets_in``.
    """
    known = tuple(known)
    text = _without(text, [secret for secret in known if " " in secret])  # first: a space would end the match of a URL
    parts, end = [], 0
    for match in _URL.finditer(text):
        parts += [_without(text[end : match.start()], known), _masked_url(match[0])]
        end = match.end()
    return "".join([*parts, _without(text[end:], known)])


def looks_secret(name: str, value: str = "") -> bool:
    """Whether an environment variable seems to be secret, by its name or by a password in its value."""
    return _NAME.search(name) is not None or masked(value) != value


def assigns_secret(script: str) -> bool:
    """Whether a shell script seems to set such a variable."""
    return any(_is_secret(match[1], match[2]) for match in _ASSIGNED.finditer(script))


def masked_words(words: Iterable[str]) -> tuple[str, ...]:
    """Mask what seems to be secret in the words of a command: ``--api-key=...``, ``--token ...``, ``KEY=...``.

    Only values and the passwords of URLs are masked, so the number of words stays the same.
    """
    words_so_far: list[str] = []
    for word in words:
        option = _OPTION.fullmatch(words_so_far[-1]) if words_so_far else None
        if option is not None and option[2] is None and not word.startswith("-") and _is_secret(option[1]):
            words_so_far.append(MASK)
            continue
        option = _OPTION.fullmatch(word)
        if option is not None and option[2] is not None and _is_secret(option[1]):
            words_so_far.append(f"{word[: option.start(2)]}{MASK}")
            continue
        words_so_far.append(masked(_ASSIGNED.sub(_masked_value, word)))
    return tuple(words_so_far)


def _is_secret(name: str, value: str = "") -> bool:
    return looks_secret(name.replace("-", "_"), value)


def _masked_value(match: re.Match[str]) -> str:
    whole = match[0]
    return f"{whole[: -len(match[2])]}{MASK}" if _is_secret(match[1], match[2]) else whole


def secrets_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The passwords of the URLs in texts, as written and decoded, longest first."""
    secrets: set[str] = set()
    for text in texts:
        is_url = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
        for url in [match[0] for match in _URL.finditer(text)] + ([_spaces_encoded(text)] if is_url else []):
            for match in (*_USER.finditer(_up_to_at(url)), *_KEY.finditer(_user_replaced(r"\1", url))):
                written = match[match.re.groups]
                for plain in (urllib.parse.unquote(written), urllib.parse.unquote_plus(written), written):
                    secret = plain.strip("{}")  # ODBC puts values with special characters into braces
                    secrets |= {secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe="")}
                    secrets.add(urllib.parse.quote_plus(secret))
    # shorter ones occur in too many words; in URLs they are masked by position
    return tuple(sorted((secret for secret in secrets - {MASK} if len(secret) > 2), key=len, reverse=True))


def _spaces_encoded(text: str) -> str:
    """An argument that is a URL, with its spaces encoded so that it matches as a whole."""
    return re.sub(r"\s", lambda space: urllib.parse.quote(space[0]), text)


def _up_to_at(url: str) -> str:
    """The part that may contain a user and password. Without the cut, matching would be quadratic in the slashes."""
    return url[: url.rfind("@") + 1]


def _user_replaced(by: str, url: str) -> str:
    start = _up_to_at(url)
    return _USER.sub(by, start, count=1) + url[len(start) :]


def _masked_url(url: str) -> str:
    return _KEY.sub(rf"\1\2{MASK}", _user_replaced(rf"\1\2\3{MASK}@", url))


def _without(text: str, known: Iterable[str]) -> str:
    for secret in known:
        if secret in text:
            # a short secret may be part of an unrelated word
            pattern = rf"(?<!\w){re.escape(secret)}(?!\w)" if len(secret) < 6 else re.escape(secret)
            text = re.sub(pattern, MASK, text)
    return text
