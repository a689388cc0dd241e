"""The HTTP routes of the emulator."""
