"""`python -m luban` is `luban`."""

from luban.cli.main import run

if __name__ == "__main__":
    run()
