"""Pages of a notebook that was run: HTML by nbconvert, PDF by WeasyPrint.

A notebook is somebody else's, and so is what it shows: of HTML only what is harmless is taken (nh3), no link to outside of the page is
followed, and the page itself forbids scripts and the network to whoever opens it.
"""

import os
import re
from html import escape

import jinja2
import nh3
from nbconvert import HTMLExporter
from traitlets.config import Config

from . import Mistake, files

# Characters of one output of text, and of one image: what is longer stays in the notebook.
TEXT, IMAGE = 256 << 10, 16 << 20
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
# What is shown of an output, the first that it has.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]

POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src \'unsafe-inline\'; '
    "font-src data:; form-action 'none'; base-uri 'none'\">"
)
STYLES = {
    "background-color", "border", "border-bottom", "border-collapse", "border-left", "border-right", "border-top", "color", "font-size",
    "font-style", "font-weight", "margin", "margin-left", "margin-right", "max-width", "padding", "text-align", "vertical-align",
    "white-space", "width",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def report(notebook, html, pdf, template):
    """Writes both files; neither is touched when one can't be made."""
    without_templates_of_others()
    nb = files.read(notebook)
    page = rendered(shown(nb), template, title(nb) or os.path.splitext(os.path.basename(notebook))[0])
    # Here, as what is refused before should not wait for it.
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    # A page's own style is in it; it has no address that others would be relative to.
    printed = HTML(string=page, base_url=None, url_fetcher=URLFetcher(allowed_protocols=("data",))).write_pdf()
    files.write(pdf, printed)
    files.write(html, page.encode())


def without_templates_of_others():
    """nbconvert runs the code of templates, and takes them from its user's directories too (and from where it works; see below): whoever ran the
    notebook may have left some there."""
    os.environ.update(JUPYTER_PREFER_ENV_PATH="1", JUPYTER_DATA_DIR="/nowhere", JUPYTER_CONFIG_DIR="/nowhere", JUPYTER_NO_CONFIG="1")
    os.environ.pop("JUPYTER_PATH", None)


def title(nb):
    """The first heading, in plain text."""
    for cell in nb.cells:
        found = re.search(r"^# +(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if found:
            return re.sub(r"[*_`]", "", found[1]).strip()
    return None


def shown(nb):
    """The notebook with what a report shows of it."""
    for cell in nb.cells:
        for attachment in cell.get("attachments", {}).values():
            drop(attachment, lambda kind: not kind.startswith("image/"))
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.output_type in ("display_data", "execute_result")]
        # A table of figures for programs, which says of itself that it is not to be seen.
        cell.outputs = [output for output in cell.outputs if output.metadata.get("scrapbook", {}).get("display") is not False]
        for output in cell.outputs:
            output.metadata = {}
            drop(output.data, lambda kind: kind not in SHOWN)
            for kind in ("image/png", "image/jpeg"):
                if not BASE64.fullmatch(output.data.get(kind, "")):
                    del output.data[kind]
            for kind, data in output.data.items():
                if len(data) > (IMAGE if kind.startswith("image/") else TEXT):
                    output.data = {"text/plain": f"[{len(data):,} characters of {kind}: they are in the notebook]"}
                    break
    return nb


def drop(data, unwanted):
    for kind in [kind for kind in data if unwanted(kind)]:
        del data[kind]


def rendered(nb, template, title):
    config = Config()
    config.NbConvertBase.display_data_priority = SHOWN
    chosen = {"template_name": "basic"} if template is None else {"template_file": checked(template)}
    exporter = HTMLExporter(
        config=config, **chosen, extra_template_basedirs=[], sanitize_html=True, exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True,
        exclude_anchor_links=True, filters={"clean_html": clean},
    )
    try:
        body, _ = exporter.from_notebook_node(nb, {"metadata": {"name": title}})
    except jinja2.TemplateError as error:
        raise Mistake(f"the template {template} fails: {type(error).__name__}: {error}") from None
    if template is None:
        with open(os.path.join(os.path.dirname(__file__), "report.css"), encoding="utf-8") as style:
            page = PAGE.format(title=escape(title), style=style.read(), body=body)
    else:
        page = body
    head = re.search(r"<head[^>]*>", page)
    if not head:
        raise Mistake(f"the template {template} makes no HTML document: there is no <head>")
    return page[: head.end()] + POLICY + page[head.end() :]


def checked(template):
    """A template's path, if it is one for HTML."""
    try:
        with open(template, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"the template {template} can't be read: {error}") from None
    if template.endswith(".tpl") or re.search(r"extends\s*['\"][^'\"]*(asciidoc|\.tpl)", text):
        raise Mistake(
            f"the template {template} is one for AsciiDoc, of which no reports are made here: give one of nbconvert's for HTML, that begins "
            "with {% extends 'basic/index.html.j2' %} or 'lab/index.html.j2', or none"
        )
    return os.path.abspath(template)


def clean(html):
    """HTML without what acts, or comes from elsewhere."""
    html = nh3.clean(
        html, clean_content_tags={"script", "style", "title"}, attributes=ATTRIBUTES, attribute_filter=attribute, link_rel="noopener noreferrer",
        url_schemes={"http", "https", "mailto", "data"}, filter_style_properties=STYLES,
    )
    # Of a picture that came from elsewhere its place is left.
    return re.sub(r"<img(?![^>]* src=)[^>]*>", "", html)


ATTRIBUTES = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
ATTRIBUTES.setdefault("*", set()).update({"class", "style", "title", "lang", "dir", "align"})
ATTRIBUTES["a"].discard("rel")


def attribute(tag, name, value):
    """The value that an attribute keeps."""
    if name == "src":
        return value if value.startswith(("data:image/png", "data:image/jpeg", "data:image/gif")) else None
    if name in ("href", "cite"):
        return value if value.startswith(("http://", "https://", "mailto:", "#")) else None
    return value
