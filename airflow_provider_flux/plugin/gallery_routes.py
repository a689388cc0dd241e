"""Pages of the gallery, and the objects that they show."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
