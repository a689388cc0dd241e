"""The parts of the shared object of the budgets, and the messages between it and a holder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_flux.account.budgets.periods import Cap

#: Name under which the smallest spenders of a period are added up.
OTHERS = "other tasks"

Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=600)]


class StoredPart(BaseModel):
    """A part of the shared object. A newer version may add fields."""

    model_config = ConfigDict(extra="ignore")


class Counter(StoredPart):
    """The spend of one budget in one period.

    :param spent: credits that were spent, or possibly spent.
    :param ends: epoch second at which the period ends.
    :param spenders: credits by task. The smallest are added up under :data:`OTHERS`.
    """

    spent: Amount = 0.0
    ends: Amount
    spenders: dict[Name, Number] = Field(default_factory=dict)


class Block(StoredPart):
    """The credits that one holder has reserved.

    :param ledger: id of the ledger that records the submits of the holder; empty if there is none.
    :param spender: name of the task.
    :param counters: keys of the counters in which it is reserved.
    :param reserved: credits that are reserved and not settled.
    :param settled: credits that the submits of the holder have settled so far, in all its blocks.
    :param adjusted: corrections that the holder has made so far, for example refunds.
    :param deadline: epoch second at which the block lapses, by the clock of the store.
    :param probe: model whose first cost the holder awaits; ``None`` if it awaits none.
    """

    ledger: Name = ""
    spender: Name
    counters: tuple[Name, ...]
    reserved: Amount
    settled: Amount = 0.0
    adjusted: Number = 0.0
    deadline: Amount
    probe: Name | None = None


class LapsedBlock(Block):
    """A block whose holder did not renew it. Its credits count as spent.

    :param counted: credits that count as spent, although no holder has settled them.
    """

    counted: Amount


class KnownPrice(StoredPart):
    """The price of a model, as BFL bills it.

    :param factor: cost divided by the estimate, at least 1.
    :param at: epoch second of the last cost.
    """

    factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]
    at: Amount


class Order(BaseModel):
    """The totals of a holder at a write, and the credits that it wants.

    :param holder: its random id.
    :param ledger: id of its ledger; empty if it has none.
    :param spender: name of the task.
    :param settled: credits of its submits that were answered, or whose answer was lost.
    :param adjusted: corrections so far, for example refunds (negative).
    :param in_flight: credits of its submits that wait for an answer.
    :param minimum: credits that it needs for the next submit.
    :param wanted: credits that it would like to reserve beside those in flight.
    :param prices: factors of the models whose cost it has seen.
    :param probe: model of the next submit; ``None`` if its price is known to the holder.
    :param may_share_probe: whether to submit to the model although another holder awaits its cost.
    :param had_block: whether the holder knows that it has reserved a block before.
    """

    model_config = ConfigDict(frozen=True)

    holder: str
    ledger: str = ""
    spender: str
    settled: float = 0.0
    adjusted: float = 0.0
    in_flight: float = 0.0
    minimum: float = 0.0
    wanted: float = 0.0
    prices: Mapping[str, float] = Field(default_factory=dict)
    probe: str | None = None
    may_share_probe: bool = False
    had_block: bool = False


class Answer(BaseModel):
    """The answer to a holder at a write.

    :param free: credits that it may submit for, beside those in flight.
    :param counters: counters in which the block is reserved.
    :param factors: how much dearer than estimated BFL bills each model that is known.
    :param short: the budget that has too little left; ``None`` if the minimum was reserved.
    :param awaits: ``holders`` if the reservations of other tasks may come back, ``price`` if the
        first cost of the model is awaited; ``None`` if waiting does not help.
    :param is_superseded: whether a later try has settled the block of this holder.
    :param period_age: seconds since the latest of the periods began.
    """

    model_config = ConfigDict(frozen=True)

    free: float = 0.0
    counters: tuple[str, ...] = ()
    factors: Mapping[str, float] = Field(default_factory=dict)
    short: Cap | None = None
    awaits: Literal["holders", "price"] | None = None
    is_superseded: bool = False
    period_age: float = 0.0
