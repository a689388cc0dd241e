"""The shared object of the governor: which client of an account holds which slots.

Whoever may write to its bucket can change it, so each number has bounds, and nothing in it names a
place, a connection or a price. It decides only how soon a client submits.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_flux.account.governor.shares import Claim, QuotaLimits, Slots, share_quota

#: Clients in one object. Further ones work without the governor.
MAX_CLIENTS = 200
#: Largest size of the object in bytes.
MAX_QUOTA_BYTES = 512 * 1024
_MAX_SECONDS = 600.0

ClientName = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Counter = Annotated[int, Field(ge=0, le=2**53)]


class QuotaClient(BaseModel):
    """The entry of one client.

    :param rank: rank of its priority.
    :param ticket: order of arrival.
    :param renewal: a number that changes with each write of the client. Others see by it that the
        client lives, without comparing clocks.
    :param lasts: seconds without a new ``renewal`` after which the client counts as gone.
    :param demand: slots that it could use.
    :param held: slots that it may be using. Only the client itself lowers them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    rank: Annotated[int, Field(ge=0, le=2)] = 1
    ticket: Counter = 0
    renewal: Counter = 0
    lasts: Annotated[float, Field(gt=0, le=_MAX_SECONDS)] = 7.0
    demand: Slots = Slots()
    held: Slots = Slots()


class Quota(BaseModel):
    """All clients of an account.

    :param version: version of the format.
    :param next_ticket: ticket of the next client.
    :param clients: the entry of each client by its id.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    next_ticket: Counter = 0
    clients: Annotated[dict[ClientName, QuotaClient], Field(max_length=MAX_CLIENTS)] = Field(
        default_factory=dict
    )

    def without(self, names: set[str]) -> Quota:
        """Return the quota without some clients.

        :param names: ids of the clients.
        """
        if names.isdisjoint(self.clients):
            return self
        kept = {name: client for name, client in self.clients.items() if name not in names}
        return self.model_copy(update={"clients": kept})

    def with_client(self, name: str, client: QuotaClient) -> Quota:
        """Return the quota with the new entry of a client.

        :param name: id of the client.
        :param client: its entry.
        """
        tickets = max(self.next_ticket, client.ticket + 1)
        clients = {**self.clients, name: client}
        return self.model_copy(update={"clients": clients, "next_ticket": tickets})

    def shares(self, limits: QuotaLimits) -> dict[str, Slots]:
        """Return the fair share of each client.

        :param limits: limits of the account.
        """
        claims = [
            Claim(name, client.rank, client.ticket, client.demand)
            for name, client in self.clients.items()
        ]
        return share_quota(claims, limits)

    def free_for(self, name: str, limits: QuotaLimits) -> Slots:
        """Return the slots that no other client holds.

        :param name: id of the client that may use them.
        :param limits: limits of the account.
        """
        others = [client.held for other, client in self.clients.items() if other != name]
        return Slots(
            total=max(limits.account - sum(held.total for held in others), 0),
            groups={
                group: max(limit - sum(held.of(group) for held in others), 0)
                for group, limit in limits.groups.items()
            },
        )
