"""Hooks: connections and HTTP."""
