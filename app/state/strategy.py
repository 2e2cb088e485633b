"""One strategy: its JSON, what is wrong with it, what it says in English, and its versions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import reflex as rx

from app.domain.errors import InvalidInput
from app.services.identity.audit import audited
from app.services.strategy import Problem, parse_text, read_aloud, unsupported_live, version_hash
from app.services.strategy.library import StrategyView, archive_strategy, get_strategy, save_version
from app.state import words
from app.state.base import PageState, Unit, handler, live, put, say, text_of, whole, work
from app.state.rows import Row

#: Longer texts are refused unread; validation has a limit of its own for what is in them.
MOST_TEXT = 100_000
_PARTS = (
    "schema",
    "name",
    "note",
    "market",
    "params",
    "series",
    "entry",
    "exit",
    "order",
    "sizing",
    "protect",
    "limits",
)


@live()
class StrategyState(PageState, rx.State):
    """The strategy in the page's address. What is typed is checked as it is typed, and kept until it is saved."""

    name: str = ""
    archived: bool = False
    versions: list[Row] = []  # noqa: RUF012
    number: str = ""
    text: str = ""
    editor_key: str = ""
    problems: list[Row] = []  # noqa: RUF012
    warnings: list[Row] = []  # noqa: RUF012
    not_live: list[Row] = []  # noqa: RUF012
    reading: str = ""
    changed: bool = False
    _id: int = 0
    _documents: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    _hash: str = ""

    async def _reload(self, unit: Unit) -> None:
        view = await get_strategy(unit.session, user_id=unit.user_id, strategy_id=self._from_address())
        is_other = view.id != self._id
        self._take(view)
        if is_other or not self.number:
            self._edit(self.versions[0]["number"])

    def _take(self, view: StrategyView) -> None:
        self._id = view.id
        self._documents = {str(version.number): version.document for version in view.versions}
        put(
            self,
            name=view.name,
            archived=view.archived_at is not None,
            versions=[
                {
                    "number": str(version.number),
                    "hash": version.hash[:12],
                    "saved": words.day_time(version.created_at),
                    "reading": version.reading,
                }
                for version in view.versions
            ],
        )

    def _edit(self, number: str) -> None:
        """Put a version into the editor."""
        document = self._documents[number]
        self._hash = version_hash(document)
        text = json.dumps(_in_order(document), indent=2, ensure_ascii=False)
        put(self, number=number, text=text, editor_key=f"{self._id}-{number}-{len(self.versions)}")
        self._check(text)

    def _check(self, text: str) -> None:
        result = parse_text(text)
        strategy = result.strategy
        put(
            self,
            problems=_problems(result.errors),
            warnings=_problems(result.warnings),
            not_live=_problems(unsupported_live(strategy) if strategy else ()),
            changed=strategy is None or version_hash(strategy.document) != self._hash,
        )
        if strategy is not None:
            put(self, reading=read_aloud(strategy))

    @handler
    async def choose_version(self, number: str) -> None:
        """Look at another version; saving it again makes no new one."""
        number = str(whole(number, "version"))
        if number in self._documents:
            self._edit(number)

    @handler
    async def check(self, text: str) -> None:
        """What is wrong with the text, and what it says, while it is typed."""
        self._check(text_of({"text": text}, "text", most=MOST_TEXT))

    @handler
    async def save(self, form: dict[str, Any]) -> None:
        """Save the text as a new version."""
        text = text_of(form, "document", most=MOST_TEXT)
        self._check(text)
        result = parse_text(text)
        if result.strategy is None:
            raise InvalidInput("Not saved: mend the problems beside the editor first.", field="document")
        before = len(self.versions)
        async with work(self) as unit:
            view = await save_version(
                unit.session, user_id=unit.user_id, strategy_id=self._id, document=result.strategy.document
            )
            what = f"strategy:{self._id}"
            await audited(unit.session, unit.caller, "strategy.saved", object=what, clock=unit.clock)
        self._take(view)
        self.errors = {}
        same = next(
            n
            for n, document in self._documents.items()
            if version_hash(document) == version_hash(result.strategy.document)
        )
        self._edit(same)
        if len(self.versions) > before:
            await say(self, "success", f"Version {same} saved")
        else:
            await say(self, "info", f"This is version {same} already", "Nothing had to be saved.")

    @handler
    async def archive(self) -> Any:
        """Take the strategy out of the list."""
        async with work(self) as unit:
            await archive_strategy(unit.session, user_id=unit.user_id, strategy_id=self._id, clock=unit.clock)
            what = f"strategy:{self._id}"
            await audited(unit.session, unit.caller, "strategy.archived", object=what, clock=unit.clock)
        return rx.redirect("/strategies")


def _in_order(document: dict[str, Any]) -> dict[str, Any]:
    """The document's parts in the order in which one thinks of them (the database keeps none)."""
    known = {name: document[name] for name in _PARTS if name in document}
    return known | {name: value for name, value in document.items() if name not in known}


def _problems(problems: Iterable[Problem]) -> list[Row]:
    return [{"path": problem.path or "the whole", "message": words.sentence(problem.message)} for problem in problems]
