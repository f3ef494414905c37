"""`python -m efface`, which torchrun needs: `torchrun --nproc_per_node 2 -m efface unlearn ...`."""

from efface.cli import main

if __name__ == "__main__":
    main()
