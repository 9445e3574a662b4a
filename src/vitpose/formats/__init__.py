"""Result and annotation files."""
