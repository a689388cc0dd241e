"""Draw the images and videos that the emulator delivers."""
