"""A browser tab without a browser: the tree of states, and services that are fakes."""

from __future__ import annotations

from typing import Any

from reflex.state import State
from sqlalchemy.exc import OperationalError

import app.pages  # noqa: F401 - registers every state
from app.services.identity import Role, Viewer

ADA = Viewer(1, "ada@example.com", Role.ADMIN)
TOM = Viewer(2, "tom@example.com", Role.TRADER)


class FakeServices:
    """Knows who a cookie belongs to; may lose its database."""

    cookie_name = "plumbline"

    def __init__(self) -> None:
        self.viewers: dict[str, Viewer] = {"plumbline=ada": ADA, "plumbline=tom": TOM}
        self.is_away = False

    async def viewer_of(self, cookie_header: str) -> Viewer | None:
        """Whose cookie it is."""
        if self.is_away:
            raise OperationalError("SELECT 1", {}, Exception("connection refused"))
        return self.viewers.get(cookie_header)


def new_tab(cookie: str = "", *, token: str = "token-1", sid: str = "socket-1", path: str = "/") -> Any:
    """The root state of a tab whose websocket carries `cookie`."""
    root: Any = State(_reflex_internal_init=True)
    change_cookie(root, cookie, token=token, sid=sid, path=path)
    return root


def change_cookie(root: Any, cookie: str, *, token: str = "token-1", sid: str = "socket-1", path: str = "/") -> None:
    """The tab's next websocket: other headers."""
    data = {"token": token, "sid": sid, "headers": {"cookie": cookie, "origin": "http://x"}, "asPath": path}
    root._update_router_vars(data, {})
