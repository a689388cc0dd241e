"""Other ways to make many images, measured beside the batch operator."""
