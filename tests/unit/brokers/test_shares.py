"""A policy is asked now and then, and nothing depends on its answering."""

import asyncio
import threading

import pytest

from brokers import TenantShare
from brokers.tenants import EQUAL, Shares


def test_a_policy_is_asked_once_in_a_while():
    asked = []

    def policy(tenant):
        asked.append(tenant)
        return TenantShare(weight=len(asked))

    async def told():
        shares = Shares("q", policy)
        await shares.refresh(["a", "b"])
        await shares.refresh(["a", "b"])
        return shares.of("a"), shares.of("b"), shares.of("c")

    assert asyncio.run(told()) == (TenantShare(1), TenantShare(2), EQUAL)
    assert asked == ["a", "b"]


def test_what_was_said_stays_when_the_policy_fails(monkeypatch, caplog):
    monkeypatch.setattr("brokers.tenants.SHARE_S", -1)
    answers = iter([TenantShare(cap=3)])

    async def told():
        shares = Shares("q", lambda tenant: next(answers))
        await shares.refresh(["a"])
        await shares.refresh(["a"])
        return shares.of("a")

    assert asyncio.run(told()) == TenantShare(cap=3)
    assert "queue q gave no share for 1 tenants" in caplog.text


@pytest.mark.timeout(20)
def test_a_policy_that_hangs_holds_up_nobody(monkeypatch):
    monkeypatch.setattr("brokers.tenants.POLICY_S", 0.01)
    go_on = threading.Event()

    def policy(tenant):
        go_on.wait()
        return TenantShare(weight=5)

    async def told():
        shares = Shares("q", policy)
        await shares.refresh(["a"])
        meanwhile = shares.of("a")
        await shares.refresh(["a"])
        go_on.set()
        await shares._asking
        return meanwhile, shares.of("a")

    assert asyncio.run(told()) == (EQUAL, TenantShare(weight=5))


def test_without_a_policy_all_are_equal():
    shares = Shares("q", None)

    asyncio.run(shares.refresh(["a"]))

    assert shares.of("a") == EQUAL
