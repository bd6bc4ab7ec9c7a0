"""Writing a page, or what comes with it, to the file that a user names."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".html", ".htm")


def check_page_path(path: Path, option: str = "--output") -> None:
    """Raise ConfigError, before any work is done, for a file that is no place for a page: of another suffix,
    a folder, or there already without being a page of ours."""
    from bench.errors import ConfigError
    from bench.page import is_page

    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{option} {path}: is a page of HTML; give a name that ends in .html")
    try:
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            ours = is_page(file.read(1000))
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be read ({error.strerror}); give another file") from None
    if not ours:
        raise ConfigError(
            f"{option} {path}: is there already and is no page of bench; give another name, or move it away"
        )


def write_whole(path: Path, text: str, option: str = "--output") -> str:
    """Write a text, all of it or nothing; returns its size as text. Raises StoreError."""
    from rich.filesize import decimal

    from bench.errors import StoreError
    from bench.files import write_text

    try:
        write_text(path, text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{path}: cannot be written ({reason}); choose another {option}") from None
    return decimal(len(text.encode()))
