"""``python -m flows`` is the ``dermcot`` command.

Processes that multiprocessing spawns import this module again, so it imports nothing before it is called.
"""


def main() -> None:
    """Entry point of the ``dermcot`` command."""
    from flows.cli import main as command

    command()


if __name__ == "__main__":
    main()
