"""Land a result: store the image or video whole at ``output_path``."""
