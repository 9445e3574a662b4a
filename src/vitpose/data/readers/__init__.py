"""One file a family of annotation formats; ``read.py`` names them all."""
