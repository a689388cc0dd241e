"""Fair shares of a quota: how many slots each client may use. The functions are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: Largest number of slots that counts. It bounds what a stranger's entry can claim.
MAX_SLOTS = 100_000
#: Limit groups of models in one entry.
_MAX_GROUPS = 32

SlotCount = Annotated[int, Field(ge=0, le=MAX_SLOTS)]
GroupName = Annotated[str, Field(min_length=1, max_length=100)]


class Slots(BaseModel):
    """Numbers of slots: that a client demands, may use, or holds.

    :param total: slots of the account, those of all groups included.
    :param groups: slots by group of models that has a limit of its own. A group that is missing has
        none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    total: SlotCount = 0
    groups: Annotated[dict[GroupName, SlotCount], Field(max_length=_MAX_GROUPS)] = Field(
        default_factory=dict
    )

    def of(self, group: str) -> int:
        """Return the slots of a group.

        :param group: name of the group.
        """
        return self.groups.get(group, 0)


@dataclass(frozen=True)
class QuotaLimits:
    """The limits of an account.

    :param account: generations that the account may have active at once.
    :param groups: smaller limits by group of models.
    """

    account: int
    groups: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """The claim of one client to a part of the quota.

    :param name: id of the client.
    :param rank: rank of its priority: clients with a larger one come first.
    :param ticket: order of arrival. If slots do not suffice for all, earlier clients come first.
    :param demand: slots that it could use now.
    """

    name: str
    rank: int
    ticket: int
    demand: Slots


def share_quota(claims: Sequence[Claim], limits: QuotaLimits) -> dict[str, Slots]:
    """Divide a quota among clients.

    Each client with a demand has at least one slot, if there are enough: the first by priority and
    arrival. What is left goes to the highest priority first, and within one priority the smallest
    share is as large as possible (max-min fairness). No slot is left while a demand is open.

    :param claims: the clients.
    :param limits: limits of the account.
    :return: the share of each client, never above its demand. All shares together are never above
        a limit.
    """
    by_group = {
        group: divide(claims, {claim.name: claim.demand.of(group) for claim in claims}, limit)
        for group, limit in limits.groups.items()
    }
    wanted = {
        claim.name: claim.demand.total
        - sum(claim.demand.of(group) - shares[claim.name] for group, shares in by_group.items())
        for claim in claims
    }
    totals = divide(claims, {name: max(want, 0) for name, want in wanted.items()}, limits.account)
    return {
        claim.name: Slots(
            total=totals[claim.name],
            groups={group: shares[claim.name] for group, shares in by_group.items()},
        )
        for claim in claims
    }


def divide(claims: Sequence[Claim], wanted: Mapping[str, int], limit: int) -> dict[str, int]:
    """Divide one limit: see :func:`share_quota`.

    :param claims: the clients.
    :param wanted: slots that each client could use.
    :param limit: slots there are.
    """
    shares = dict.fromkeys(wanted, 0)
    ordered = sorted(
        (claim for claim in claims if wanted[claim.name] > 0),
        key=lambda claim: (-claim.rank, claim.ticket, claim.name),
    )[: max(limit, 0)]
    left = limit - len(ordered)
    for _, level in groupby(ordered, key=lambda claim: claim.rank):
        names = [claim.name for claim in level]
        given = _fill(names, wanted, left + len(names))
        shares |= given
        left -= sum(given.values()) - len(names)
    return shares


def _fill(names: Sequence[str], wanted: Mapping[str, int], slots: int) -> dict[str, int]:
    """Divide slots among equals. What cannot be divided goes to those that come first."""
    shares: dict[str, int] = {}
    # Those that come first among equals are the last here: their part is rounded up.
    by_want = sorted(range(len(names)), key=lambda index: (wanted[names[index]], -index))
    for position, name in enumerate(names[index] for index in by_want):
        shares[name] = min(wanted[name], slots // (len(names) - position))
        slots -= shares[name]
    return shares
