"""Notifications about tasks of this provider: a text, and small pictures of what has landed."""
