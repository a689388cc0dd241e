"""Run one trigger in a new interpreter, which has opened no store yet.

Reads the arguments of the trigger from stdin, and prints its event.
"""

from __future__ import annotations

import asyncio
import json
import sys

from airflow_provider_flux.triggers.result import FluxResultTrigger


async def main() -> None:
    """Run the trigger."""
    async for event in FluxResultTrigger(**json.load(sys.stdin)).run():
        sys.stdout.write(f"\nEVENT {json.dumps(event.payload)}\n")


if __name__ == "__main__":
    asyncio.run(main())
