"""Writing a page, or what comes with it, to the file that a user names."""

from __future__ import annotations

from pathlib import Path

from bench.page import check_page_path as check_page_path


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
