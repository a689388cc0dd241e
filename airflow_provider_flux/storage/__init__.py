"""From a result to a whole image at ``output_path``."""
