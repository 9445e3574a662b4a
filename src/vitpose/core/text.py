"""Text that comes from outside."""


def readable(text: str) -> str:
    """Replace what is not Unicode by question marks: file names may be any bytes, JSON and tables may not."""
    return text.encode("utf-8", "replace").decode("utf-8")
