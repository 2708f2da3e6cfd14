"""Key-value buckets: a stream that keeps the last value of each key.

A bucket is laid out as NATS lays them out (ADR-8 of NATS), so that its tools read it.
What is written is also told on `told.<bucket>.>`, after it was stored: whoever waits
for a key listens there, and asks nobody meanwhile.
"""

import base64
import json
import math
import re
import secrets
import time
from collections.abc import Collection, Iterable
from typing import Any

from brokers.connection import Connection
from brokers.entries import HIDDEN, Entry, entry_of, lifetime, revision_of, subject_of
from brokers.errors import ApiError, MessageTooLarge, RefusedError, UnavailableError
from brokers.exchanges import Exchange, Waiter, is_to_repeat
from brokers.link import Link
from brokers.stored import stored_by_subject
from brokers.tokens import escaped_token, unescaped_token
from brokers.topology import STREAM_NOT_FOUND, WRONG_REVISION
from brokers.wire import Incoming

#: JetStream's number for *the name is taken*.
NAME_TAKEN = 10058
#: The pause before a request is sent again.
PAUSE_S = 0.1
#: Whoever waits for a key looks again after this long, should a word be lost.
LOOK_S = 10.0
#: The server takes so many keys in one request.
KEYS_IN_ONE = 1000
#: Room for a value's headers.
RESERVE_BYTES = 1024
#: A key may be so long, escaped; the server bounds the length of a line.
LONGEST_KEY = 1000

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Bucket:
    """Keys with values; any thread, also in processes forked off later.

    It is made at its first use, and anew when it is gone. Every method raises
    `BrokerConnectionError` when the server does not answer in time.

    Args:
        connection: The process's connection.
        name: Of letters, digits, `_` and `-`.
        replicas: On how many servers it is kept, where it is made here.
        separator: Keys alike up to its last occurrence are one family.
        timeout_s: How long to try.
        owns_connection: Whether the connection ends with the bucket.

    Raises:
        ValueError: The name is none.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        *,
        replicas: int = 1,
        separator: str = "",
        timeout_s: float = 10.0,
        owns_connection: bool = False,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"A bucket's name is of letters, digits, _, -: {name!r}.")
        self._connection = connection
        self._replicas = replicas
        self._separator = separator
        self._timeout_s = timeout_s
        self._owns_connection = owns_connection
        self.name = name
        self.stream = f"KV_{name}"
        self.told = f"told.{name}"
        self._direct = f"$JS.API.DIRECT.GET.{self.stream}"

    def close(self) -> None:
        """Disconnect, where the connection is our own; a later use connects again."""
        if self._owns_connection:
            self._connection.close()

    def get(self, key: str) -> Entry | None:
        """Return the key's value; none where there is none."""
        return self._get(key, self._timeout_s)

    def get_many(self, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the values of those keys that have one."""
        return self._found(self._get_all(map(self.subject, keys)))

    def get_among(
        self, subjects: str, keys: Collection[str]
    ) -> tuple[int, dict[str, Entry]]:
        """Return the last revision among subjects, and values that are as new.

        The revision is 0 where there is none. Given to `update`, it proves that no
        value has changed since.

        Args:
            subjects: Subjects of the bucket, such as a `family`.
            keys: Whose values; there may be another one's besides.
        """
        wanted = json.dumps({"last_by_subj": subjects}).encode()
        while True:
            (answer, *_), _ = self._answers(self._direct, self._timeout_s, wanted)
            revision, last = revision_of(answer), subject_of(answer)
            found = self._get_all(map(self.subject, keys), last)
            # Any replica may answer, one that knows less than another, too.
            known = [revision_of(one) for one in found if subject_of(one) == last]
            if not last or (known and min(known) >= revision):
                return revision, self._found(found)

    def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> int:
        """Store a value; return its revision.

        Args:
            key: Any text.
            value: Any bytes.
            ttl_ms: For how long, rounded up to whole seconds; none is for ever.

        Raises:
            MessageTooLarge: The server would not take it.
        """
        revision = self._written(key, value, lifetime(ttl_ms))
        if revision is None:
            raise RefusedError(f"The bucket {self.name} refused a plain write.")
        return revision

    def create(
        self, key: str, value: bytes, *, ttl_ms: int | None = None
    ) -> int | None:
        """Store a value where there is none; return its revision, none where one is."""
        return self.update(key, value, 0, ttl_ms=ttl_ms)

    def update(
        self,
        key: str,
        value: bytes,
        revision: int,
        *,
        ttl_ms: int | None = None,
        among: str = "",
    ) -> int | None:
        """Replace a value if the revision is still the last; return the new one.

        None means that it is not, and that nothing was stored. Should the server's
        answer be lost, and the key be written by another meanwhile, it may mean
        that ours was stored and replaced.

        Args:
            key: Any text.
            value: Any bytes.
            revision: The last one of the key; 0 where there is none.
            ttl_ms: As for `put`.
            among: Subjects of the bucket of which it must be the last, instead of
                the key's own alone.
        """
        headers = lifetime(ttl_ms) | {
            "Nats-Incoming-Id": secrets.token_hex(12),
            "Nats-Expected-Last-Subject-Sequence": str(revision),
        }
        if among:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = among
        return self._written(key, value, headers)

    def delete(self, key: str, *, revision: int | None = None) -> bool:
        """Remove a key; tell whether it was there.

        Args:
            key: Any text.
            revision: Only if this is still the last one.
        """
        wanted: dict[str, Any] = {"filter": self.subject(key)}
        if revision is not None:
            wanted["seq"] = revision + 1
        answer = self._api(f"STREAM.PURGE.{self.stream}", wanted)
        return bool(answer and answer["purged"])

    def keys(self) -> set[str]:
        """Return all keys, those included that another tool has marked as deleted."""
        link = self._link(self._timeout_s)
        return link.run(self.keys_on(link), timeout_s=30.0)

    async def keys_on(self, link: Link) -> set[str]:
        """Return all keys; called on the link's loop. No bucket, no keys."""
        try:
            found, _ = await stored_by_subject(link, self.stream, self.everything)
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            return set()
        return {self.key(subject) for subject in found}

    def wait(self, key: str, timeout_s: float | None) -> Entry | None:
        """Return the key's value as soon as it has one; none after the time-out.

        Nobody is asked meanwhile, but once in a while to be sure.

        Args:
            key: Any text.
            timeout_s: None waits for ever.
        """
        if entry := self._get(key, self._patience_s(timeout_s)):
            return entry
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        link = self._link(self._patience_s(timeout_s))
        waiter = Waiter(link)
        told = self.subject(key).replace("$KV.", "told.", 1)
        name = link.run(link.listen(waiter.take, told))
        try:
            return self._waited(key, waiter, deadline)
        finally:
            link.call(waiter.end, name)

    def subject(self, key: str) -> str:
        """Return the subject that the key is stored under."""
        head, separator, tail = key.rpartition(self._separator or "\0")
        parts = [escaped_token(part) for part in ([head, tail] if separator else [key])]
        if sum(map(len, parts)) > LONGEST_KEY:
            raise ValueError(f"The key is too long: {key[:80]!r}…")
        return f"$KV.{self.name}." + ".".join(parts)

    def family(self, key: str) -> str:
        """Return the subjects of the key's family; all where it has none."""
        head, separator, _ = key.rpartition(self._separator or "\0")
        if not separator:
            return self.everything
        return f"$KV.{self.name}.{escaped_token(head)}.*"

    def key(self, subject: str) -> str:
        """Return the key that is stored, or told of, under the subject."""
        tokens = subject.split(".")[2:]
        return self._separator.join(unescaped_token(token) for token in tokens)

    @property
    def everything(self) -> str:
        """Return the subjects of all keys."""
        return f"$KV.{self.name}.>"

    def _get_all(self, subjects: Iterable[str], also: str = "") -> list[Incoming]:
        """Return the last messages of the subjects, and with each page of `also`."""
        wanted, found = sorted(subjects), []
        for first in range(0, len(wanted), KEYS_IN_ONE):
            page = {*wanted[first : first + KEYS_IN_ONE], also} - {""}
            body = json.dumps({"multi_last": sorted(page)}).encode()
            answers, _ = self._answers(
                self._direct, self._timeout_s, body, several=True
            )
            found += answers
        return found

    def _found(self, messages: list[Incoming]) -> dict[str, Entry]:
        entries = ((self.key(subject_of(one)), entry_of(one)) for one in messages)
        return {key: entry for key, entry in entries if entry}

    def _link(self, timeout_s: float) -> Link:
        link = self._connection.link()
        link.wait_until_connected(timeout_s)
        return link

    def _patience_s(self, left_s: float | None) -> float:
        return self._timeout_s if left_s is None else min(self._timeout_s, left_s + 1)

    def _waited(self, key: str, waiter: Waiter, deadline: float) -> Entry | None:
        while True:
            # First of all again, now that we listen: it may have come just before.
            left_s = max(0.0, deadline - time.monotonic())
            entry = self._get(key, self._patience_s(left_s))
            if entry or not left_s:
                return entry
            told = waiter.message(min(left_s, LOOK_S))
            if told is not None and (entry := entry_of(told)):
                return entry

    def _get(self, key: str, timeout_s: float) -> Entry | None:
        subject = self.subject(key)
        (answer, *_), _ = self._answers(f"{self._direct}.{subject}", timeout_s)
        entry = entry_of(answer)
        if entry is None and self._replicas > 1:
            # A follower may have answered that does not know it yet.
            return self._get_from_leader(subject, timeout_s)
        return entry

    def _get_from_leader(self, subject: str, timeout_s: float) -> Entry | None:
        asked = f"$JS.API.STREAM.MSG.GET.{self.stream}"
        wanted = json.dumps({"last_by_subj": subject}).encode()
        (answer, *_), _ = self._answers(asked, timeout_s, wanted)
        found = json.loads(answer.data).get("message")
        if found is None:
            return None
        headers = base64.b64decode(found.get("hdrs", "")).decode()
        if any(f"\n{name}:" in headers for name in HIDDEN):
            return None
        return Entry(base64.b64decode(found.get("data", "")), found["seq"])

    def _written(self, key: str, value: bytes, headers: dict[str, str]) -> int | None:
        link, subject = self._link(self._timeout_s), self.subject(key)
        if len(value) > link.max_payload_bytes - RESERVE_BYTES:
            raise MessageTooLarge(f"A value of {len(value)} bytes is too large.")
        (answer, *_), repeated = self._answers(
            subject, self._timeout_s, value, headers=headers
        )
        stored: dict[str, Any] = json.loads(answer.data)
        error = stored.get("error")
        if not error:
            return int(stored["seq"])
        if error.get("err_code") not in WRONG_REVISION:
            raise RefusedError(f"JetStream refused a value: {error}")
        # Ours after all, perhaps, where the first attempt's answer was lost.
        found = self.get(key) if repeated else None
        ours = found is not None and found.writer == headers["Nats-Incoming-Id"]
        return found.revision if found is not None and ours else None

    def _api(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return JetStream's answer; nothing where there is no stream or message."""
        link = self._link(self._timeout_s)
        try:
            return link.run(link.api(path, body))
        except ApiError as error:
            if error.code != 404:
                raise
            return {}

    def _answers(
        self,
        subject: str,
        timeout_s: float,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        several: bool = False,
    ) -> tuple[list[Incoming], bool]:
        """Return the answers, the one or several, and whether we asked repeatedly."""
        deadline, repeated = time.monotonic() + timeout_s, False
        while True:
            link = self._link(max(0.0, deadline - time.monotonic()))
            exchange = Exchange(link, subject, payload, headers)
            answers = exchange.answers(several=several)
            if answers and not is_to_repeat(answers[0]):
                return answers, repeated
            if time.monotonic() > deadline:
                raise UnavailableError(f"The bucket {self.name} does not answer.")
            repeated = repeated or not answers
            if answers:
                self._make(link)

    def _make(self, link: Link) -> None:
        """Make the bucket, which may be what was missing."""
        try:
            link.run(link.api(f"STREAM.CREATE.{self.stream}", self._config()))
        except ApiError as error:
            if error.err_code != NAME_TAKEN:
                raise
        except UnavailableError:
            # JetStream answers a little later than the server it runs in.
            time.sleep(PAUSE_S)

    def _config(self) -> dict[str, Any]:
        return {
            "name": self.stream,
            "subjects": [self.everything],
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
            "allow_msg_ttl": True,
            "storage": "file",
            "num_replicas": self._replicas,
            "republish": {"src": self.everything, "dest": f"{self.told}.>"},
        }
