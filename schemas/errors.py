"""Errors a person can act on.

Only mistakes of the person running the program become exceptions that end a run: each is one plain sentence saying
what, where and what to do next, printed without a traceback, exit status 2. A bad *record* is never an exception; it is
a row of the ``rejections`` table.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake or circumstance the person running the program can mend; ``str()`` is the sentence to print."""


class ConfigError(UserError):
    """A configuration file, key or value that cannot be used."""


class SourceError(UserError):
    """A source folder or metadata table that is not in the layout its adapter reads."""


class StoreError(UserError):
    """The workspace or release directory cannot be read, written or leased."""


class GateError(UserError):
    """A blocking gate failed, so no release may exist."""
