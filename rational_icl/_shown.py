"""Results that show themselves: a line in a terminal, a line and a table in a notebook."""

from typing import TYPE_CHECKING

from rational_icl._errors import RationalICLError

if TYPE_CHECKING:
    import pandas as pd


class Shown:
    """A result with a `summary`, which notebooks show below its `repr`."""

    def summary(self) -> "pd.DataFrame":
        """Table of what matters most."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        from html import escape

        line = f"<p>{escape(repr(self))}</p>"
        try:
            table = self.summary()
        except RationalICLError as error:  # of too few draws, such as
            return f"{line}<p>{escape(str(error))}</p>"
        return line + table.to_html(float_format=lambda value: f"{value:.4g}", na_rep="–")
