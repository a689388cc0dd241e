"""Review of candidates: candidates, form, answer, record and promotion. It parks no task."""
