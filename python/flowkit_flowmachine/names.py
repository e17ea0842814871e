"""Names of tables and columns that a question may hold. FlowMachine puts them into its SQL as they are."""

# `schema.table`, `table` or `column`, as people name them without quotes.
NAME = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?\Z"

FIELDS = ("mapping_table", "geom_table", "geom_table_join_column")


def refuse_others():
    """Has the server refuse a question whose names are anything else. Every kind of query takes these fields from one class."""
    from flowmachine.core.server.query_schemas.aggregation_unit import AggregationUnitMixin
    from marshmallow.validate import Regexp

    for field in FIELDS:
        getattr(AggregationUnitMixin, field).validators.append(Regexp(NAME, error="Not the name of a table or column."))
