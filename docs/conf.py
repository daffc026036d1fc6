"""Sphinx configuration: ``make docs``."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Flask-RawSocket"
copyright = "The Flask-RawSocket authors"
release = installed_version("Flask-RawSocket")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "from_code",
    "code_links",
]
exclude_patterns = ["_build"]

# A single backtick in a docstring is code.
default_role = "code"
autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
# "alert" are the forges' warnings: > [!WARNING]
myst_enable_extensions = ["alert", "deflist"]
myst_heading_anchors = 3

# The build needs no network and has no inventories of other projects: their names are not linked.
nitpick_ignore_regex = [
    ("py:.*", r"(flask|werkzeug|gunicorn|ssl|socket|datetime|collections|wsgiref|types)\..*"),
    # What `until_disconnected` returns, which is only there to be iterated.
    ("py:class", r"flask_rawsocket\.disconnect\.UntilDisconnected"),
    # A function's own arguments, by ParamSpec.
    ("py:class", r"_P\.\w+"),
    ("py:exc", r"HTTPException"),
    # Annotations with names that are imported for type checkers only; autodoc cannot qualify them.
    ("py:class", r"\w+(\.(args|kwargs))?"),
]

templates_path = ["_templates"]
html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "Flask-RawSocket"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}


def _keep_colon(_app, what, _name, _obj, _options, lines):
    """Keep napoleon from reading the words before the first colon of a property as its type."""
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = lines[0].replace(": ", "\\ :plain:`:` ", 1)


def _plain(_name, _rawtext, text, *_args, **_kwargs):
    return [nodes.Text(text)], []


def setup(app):
    app.add_role("plain", _plain)
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)
