"""Excel workbooks (.xlsx): a sheet as CSV, by openpyxl (extra ``p5t5[excel]``)."""

from __future__ import annotations

import csv
import zipfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from p5t5.core.errors import UserError


def is_workbook(path: Path) -> bool:
    """Whether a zip file is an Excel workbook."""
    with zipfile.ZipFile(path) as archive:
        return "xl/workbook.xml" in archive.namelist()


def sheet_as_csv(path: Path, sheet: str, target: Path) -> Path:
    """Writes one sheet (the only one that is filled, unless it is named) to ``target``; whole numbers without a point,
    times as 2026-01-31 19:53:00. Raises UserError without openpyxl, and for several filled sheets."""
    try:
        import openpyxl
    except ImportError as error:
        raise UserError(
            f"{path} is an Excel file, which needs openpyxl: pip install 'p5t5[excel]', or save it as CSV."
        ) from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl passes on what zip and XML readers raise
        raise UserError(f"{path} cannot be read as an Excel file: {error}.") from error
    filled = [
        name
        for name in book.sheetnames
        if any(any(cell is not None for cell in row) for row in _rows(book[name]))
    ]
    chosen = [name for name in filled if name == sheet] if sheet else filled
    if len(chosen) != 1:
        held = f"no sheet {sheet!r}" if sheet else f"{len(chosen) or 'no'} filled sheets"
        raise UserError(
            f"{path} holds {held}; there are {', '.join(filled) or 'none'}. Name one, as in {path}/{(filled or ['SHEET'])[0]}."
        )
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in _rows(book[chosen[0]]):
            cells = [_text(value) for value in row]
            writer.writerow(cells if any(cells) else [])
    return target


def _rows(sheet: Any):
    return sheet.iter_rows(values_only=True) if hasattr(sheet, "iter_rows") else iter(())  # a chart has none


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value)
