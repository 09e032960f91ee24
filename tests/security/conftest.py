"""Attacks, made as an attacker would: by a second user of the machine, by a study from a stranger, by who only reads.

Those that signal processes run in a PID namespace of their own, so that one that succeeds hits nobody else.
"""

from __future__ import annotations

from tests.cli.conftest import few_turns as few_turns
from tests.users.conftest import everybodys_python as everybodys_python
from tests.users.conftest import hidden as hidden
from tests.users.conftest import person as person
from tests.users.conftest import place as place
