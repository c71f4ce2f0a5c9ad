"""Sphinx builds these pages: `sphinx-build -W docs docs/_build` with the extra `docs`."""

project = "rational_icl"
copyright = "the rational_icl developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
autosummary_generate = False
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "rational_icl"
html_show_sourcelink = False
# links to what lies beside the pages in the repository
myst_url_schemes = ("http", "https")
suppress_warnings = ["myst.xref_missing"]
