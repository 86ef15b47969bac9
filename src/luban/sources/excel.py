"""The first sheet of an Excel or OpenDocument workbook to a Table.

The first row holds the names. Whole numbers come as Excel has them, floats. A column that mixes numbers and text becomes text. A column
with neither a name nor a value is a formatted blank and is dropped, as are blank rows at the end. Formulas give their last computed value.
"""

from __future__ import annotations

from pathlib import Path

import fastexcel
import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError, listed
from luban.core.notes import say
from luban.core.source import Source


class Excel(Source):
    suffixes = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")

    def read(self, path: Path) -> Table:
        try:
            workbook = fastexcel.read_excel(path)
            sheets = workbook.sheet_names
            # the names apart from the cells: fastexcel would quietly rename a second "price" to "price_1"
            header = workbook.load_sheet(0, header_row=None, n_rows=1, dtypes="string").to_polars()
            table = workbook.load_sheet(0, schema_sample_rows=None, skip_whitespace_tail_rows=True).to_polars()
        except fastexcel.FastExcelError as error:
            raise UserError(f"{path.name} is not a whole workbook: {str(error).splitlines()[0]}. "
                            "Save it again, or export the sheet as CSV.") from error  # fmt: skip
        if len(sheets) > 1:
            say(f"{path.name} has {len(sheets)} sheets ({listed(sheets)}); the first, {sheets[0]!r}, is read.")
        names = [(name or "").strip() for name in header.row(0)] if len(header) else []
        columns = [column.alias(name) for name, column in zip(names, table, strict=True) if name or column.null_count() < len(table)]
        for i, column in enumerate(columns):
            if column.name in (other.name for other in columns[:i]):
                raise UserError(f"{path.name} has two columns named {column.name!r} in sheet {sheets[0]!r}. Give each its own name.")
        return pl.DataFrame({column.name: column for column in columns})
