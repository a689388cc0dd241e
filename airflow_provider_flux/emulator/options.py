"""The options of the emulator's command line. No import here costs anything."""

from __future__ import annotations

from typing import Any

#: Flag and arguments of ``ArgumentParser.add_argument``. Defaults are those of ``EmulatorConfig``.
OPTIONS: dict[str, dict[str, Any]] = {
    "--host": {"default": "127.0.0.1", "help": "address to listen on (default: %(default)s)"},
    "--port": {
        "type": int,
        "default": 8484,
        "help": "port to listen on, 0 for a free one (default: %(default)s)",
    },
    "--latency": {
        "type": float,
        "help": "seconds a task takes (default: typical for the model)",
    },
    "--latency-spread": {
        "type": float,
        "default": 0.0,
        "metavar": "SHARE",
        "help": "a task takes the latency x (1 +- SHARE), drawn at random (default: %(default)g)",
    },
    "--credits": {
        "type": float,
        "default": 1000.0,
        "help": "balance of each key (default: %(default)g)",
    },
    "--max-active": {
        "type": int,
        "default": 24,
        "help": "active tasks per key (default: %(default)s)",
    },
    "--url-lifetime": {
        "type": float,
        "help": "seconds the URL of a result is valid (default: that of the model)",
    },
    "--region-hosts": {
        "default": "",
        "metavar": "HOST,HOST",
        "help": "hosts to spread tasks over",
    },
    "--fault": {
        "dest": "faults",
        "action": "append",
        "default": [],
        "metavar": "NAME=ARG",
        "help": "fault for every request; repeatable",
    },
    "--finetune": {
        "dest": "finetunes",
        "action": "append",
        "metavar": "NAME",
        "help": "finetune of each key; repeatable",
    },
    "--retention": {
        "type": float,
        "help": "seconds an ended task can be polled (default: for ever)",
    },
    "--image-bytes": {
        "type": int,
        "metavar": "N",
        "help": "JPEG files of about N bytes with nothing drawn on them, which costs little CPU",
    },
    "--seed": {"type": int, "help": "seed of all random draws"},
}
