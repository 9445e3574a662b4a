"""``python -m vitpose``."""

from vitpose.cli.main import main

if __name__ == "__main__":
    main()
