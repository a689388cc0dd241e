"""Transfers: from FLUX to elsewhere."""
