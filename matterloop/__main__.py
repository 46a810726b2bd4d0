"""`python -m matterloop` is the command line."""

from matterloop.app.cli import main

if __name__ == "__main__":
    main()
