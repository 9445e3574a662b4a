"""Pure torch: the ViTPose family. Knows nothing of pictures, boxes or files."""
