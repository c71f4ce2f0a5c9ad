"""Reports: numbers already computed become one page, its figures, tables and a JSON file."""

from rational_icl.report.analysis import analyse
from rational_icl.report.result import Analysis
from rational_icl.report.write import write_report

__all__ = ["Analysis", "analyse", "write_report"]
