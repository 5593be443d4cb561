"""`python -m dist_tool` is the command `dist`."""

from dist_tool.cli import main

if __name__ == "__main__":
    main()
