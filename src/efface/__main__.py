"""`python -m efface`, which torchrun needs: `torchrun --nproc_per_node 2 -m efface unlearn ...`."""

import sys


def main() -> None:
    """The command line. Stopped while it is being imported, it says so as at any later time."""
    try:
        from efface.cli import main as command_line
    except KeyboardInterrupt:
        sys.stderr.write("efface: stopped.\n")
        sys.exit(4)
    command_line()


if __name__ == "__main__":
    main()
