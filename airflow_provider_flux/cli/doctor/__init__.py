"""The command ``doctor``: independent checks of what a task needs, each with its remedy."""
