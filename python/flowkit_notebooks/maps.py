"""What notebooks begin and draw with: a connection to FlowAPI, its areas as a table of shapes, maps of figures and of flows."""

import os

import flowclient
import geopandas
import matplotlib
import matplotlib.pyplot as plt
from get_secret_or_env_var import environ
from matplotlib.patches import FancyArrowPatch

# FlowAPI leaves out counts of so many people or fewer.
LEFT_OUT = 15

matplotlib.rcParams.update({
    "figure.dpi": 140, "figure.constrained_layout.use": True, "font.size": 8, "axes.titlesize": 9, "axes.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid.axis": "y", "grid.color": "#e3e8ee", "lines.linewidth": 1.4,
})


class TooLittle(Exception):
    """There are too few days, or too few people, for this picture."""


def connect(url=None):
    """A connection to FlowAPI: where ``url`` or FLOWAPI_URL says, with the token FLOWAPI_TOKEN and the certificate SSL_CERTIFICATE_FILE, as
    upstream's AutoFlow names them: secrets, or variables of the environment."""
    return flowclient.connect(
        url=url or os.environ["FLOWAPI_URL"], token=environ["FLOWAPI_TOKEN"].strip(),
        ssl_certificate=environ.get("SSL_CERTIFICATE_FILE") or True,
    )


def days(connection, least=1):
    """The days for which there are both calls and text messages, in order: ``least`` of them, or it is too little."""
    dates = flowclient.get_available_dates(connection=connection)
    found = sorted(set(dates.get("calls", [])) & set(dates.get("sms", [])))
    if len(found) < least:
        raise TooLittle(f"it takes {least} days of calls and text messages, and there are {len(found)}")
    return found


def result(query):
    """A query's rows."""
    rows = query.get_result(poll_interval=0.2, disable_progress=True)
    if not len(rows):
        raise TooLittle(f"nowhere were more than {LEFT_OUT} people, and FlowAPI tells no smaller numbers")
    return rows


def areas(connection, unit):
    """The areas of a unit by their pcode, as shapes."""
    features = flowclient.get_geography(connection=connection, aggregation_unit=unit)["features"]
    return geopandas.GeoDataFrame.from_features(features, crs="EPSG:4326").set_index("pcod").sort_index()


def shade(axes, shapes, values, title, label, middle=None, reach=0, colours=None, names=False):
    """A map of figures: the darker, the more; around ``middle``, if given, in two colours, which are full at
    ``reach`` from there or farther. Areas without a figure are hatched."""
    colours = colours or ("RdBu_r" if middle is not None else "YlGnBu")
    figures = shapes.assign(figure=values.reindex(shapes.index))
    limits = {}
    if middle is not None:
        reach = max(float((values - middle).abs().max() if len(values) else 0), float(reach), 1e-9)
        limits = {"vmin": middle - reach, "vmax": middle + reach}
    known = figures[figures.figure.notna()]
    shapes.plot(ax=axes, color="#f2f4f7", edgecolor="#9aa5b1", linewidth=0.4, hatch="////" if len(known) < len(figures) else None)
    if len(known):
        known.plot(
            ax=axes, column="figure", cmap=colours, edgecolor="#ffffff", linewidth=0.5, legend=True,
            legend_kwds={"label": label, "shrink": 0.6, "pad": 0.02}, **limits,
        )
    if names:
        for pcod, point in shapes.representative_point().items():
            axes.annotate(pcod, (point.x, point.y), ha="center", va="center", fontsize=5.5, color="#1b2230")
    axes.set_title(title)
    axes.set_axis_off()
    axes.set_aspect("equal")


def arrows(axes, shapes, flows, title, most=40):
    """A map of flows: an arrow for each of the largest, as wide as it has people."""
    shapes.plot(ax=axes, color="#eef2f6", edgecolor="#b8c2cc", linewidth=0.5)
    points = shapes.representative_point()
    moved = flows[flows.pcod_from != flows.pcod_to].nlargest(most, "value")
    largest = moved.value.max() if len(moved) else 1
    for row in moved.sort_values("value").itertuples():
        start, end = points[row.pcod_from], points[row.pcod_to]
        share = row.value / largest
        axes.add_patch(FancyArrowPatch(
            (start.x, start.y), (end.x, end.y), connectionstyle="arc3,rad=0.18", arrowstyle="-|>", mutation_scale=4 + 7 * share,
            linewidth=0.4 + 3 * share, color=plt.cm.YlOrRd(0.35 + 0.6 * share), alpha=0.9, shrinkA=1, shrinkB=1,
        ))
    axes.set_title(title)
    axes.set_axis_off()
    axes.set_aspect("equal")
