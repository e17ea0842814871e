//! What a query's columns are, and the query as it is really sent.

use std::fmt::Write;

use tokio_postgres::Statement;
use tokio_postgres::types::{Kind, Type};

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) scalar: Scalar,
    /// Whether it holds arrays of the scalar.
    pub(crate) array: bool,
    /// Precision and scale of a `numeric` that has them, and that 128 bits hold.
    pub(crate) decimal: Option<(u8, u8)>,
    /// What PostgreSQL has to make of it first: a pattern with the column's name for `{}`.
    cast: Option<&'static str>,
}

/// A query as it is sent, and what its rows are made of.
pub(crate) struct Sent {
    pub(crate) columns: Vec<Column>,
    pub(crate) copy: String,
}

/// How a value's bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    /// UTF-8.
    Text,
    Json,
    /// JSON after a byte that is the format's version.
    Jsonb,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    TimeTz,
    Uuid,
    Bytea,
}

impl Scalar {
    /// PostgreSQL's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "boolean",
            Scalar::Int2 => "smallint",
            Scalar::Int4 => "integer",
            Scalar::Int8 => "bigint",
            Scalar::Oid => "oid",
            Scalar::Float4 => "real",
            Scalar::Float8 => "double precision",
            Scalar::Numeric => "numeric",
            Scalar::Text => "text",
            Scalar::Json => "json",
            Scalar::Jsonb => "jsonb",
            Scalar::Date => "date",
            Scalar::Timestamp => "timestamp",
            Scalar::TimestampTz => "timestamp with time zone",
            Scalar::Time => "time",
            Scalar::TimeTz => "time with time zone",
            Scalar::Uuid => "uuid",
            Scalar::Bytea => "bytea",
        }
    }

    /// Types whose bytes we read ourselves. The others come as the text that PostgreSQL prints.
    fn of(of: &Type) -> Option<Scalar> {
        Some(match *of {
            Type::BOOL => Scalar::Bool,
            Type::INT2 => Scalar::Int2,
            Type::INT4 => Scalar::Int4,
            Type::INT8 => Scalar::Int8,
            Type::OID => Scalar::Oid,
            Type::FLOAT4 => Scalar::Float4,
            Type::FLOAT8 => Scalar::Float8,
            Type::NUMERIC => Scalar::Numeric,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::VOID => Scalar::Text,
            Type::JSON => Scalar::Json,
            Type::JSONB => Scalar::Jsonb,
            Type::DATE => Scalar::Date,
            Type::TIMESTAMP => Scalar::Timestamp,
            Type::TIMESTAMPTZ => Scalar::TimestampTz,
            Type::TIME => Scalar::Time,
            Type::TIMETZ => Scalar::TimeTz,
            Type::UUID => Scalar::Uuid,
            Type::BYTEA => Scalar::Bytea,
            _ => match of.kind() {
                Kind::Enum(_) => Scalar::Text,
                Kind::Domain(base) => return Scalar::of(base),
                _ => return None,
            },
        })
    }
}

impl Column {
    fn new(name: &str, of: &Type, modifier: i32) -> Column {
        let decimal = if *of == Type::NUMERIC { decimal(modifier) } else { None };
        let mut column = Column { name: name.to_owned(), scalar: Scalar::Text, array: false, decimal, cast: None };
        let mut base = of;
        while let Kind::Domain(of) = base.kind() {
            base = of;
        }
        if let Some(scalar) = Scalar::of(base) {
            column.scalar = scalar;
        } else if let Kind::Array(element) = base.kind() {
            column.array = true;
            match Scalar::of(element) {
                Some(scalar) => column.scalar = scalar,
                None => column.cast = Some("{}::text[]"),
            }
        } else if matches!(base.kind(), Kind::Composite(_)) || *base == Type::RECORD {
            column.scalar = Scalar::Json;
            column.cast = Some("to_json({})");
        } else {
            column.cast = Some("{}::text");
        }
        column
    }
}

/// The columns of a statement.
pub(crate) fn of(statement: &Statement) -> Vec<Column> {
    statement
        .columns()
        .iter()
        .map(|column| Column::new(column.name(), column.type_(), column.type_modifier()))
        .collect()
}

/// Whether the columns are those of a feature, whose rows can be taken apart.
pub(crate) fn is_feature(columns: &[Column]) -> bool {
    let names = columns.iter().map(|column| column.name.as_str());
    let json = |column: &Column| !column.array && matches!(column.scalar, Scalar::Json | Scalar::Jsonb);
    names.eq(["type", "id", "geometry", "properties"]) && columns[2..].iter().all(json)
}

/// Asks for the names of a feature's properties and the types of their values, as far as its first row tells.
pub(crate) fn properties(sql: &str) -> String {
    format!(
        "SELECT key, coalesce(json_typeof(value), 'null') FROM (SELECT p::json FROM (\n{sql}\n) AS r(t, i, g, p) LIMIT 1) AS r(p), \
         json_each(CASE json_typeof(p) WHEN 'object' THEN p ELSE '{{}}' END)"
    )
}

/// A feature taken apart: its id, a whole number or text, a column for each property (numbers as doubles, all else as text), and
/// its geometry as WKB.
pub(crate) fn feature(sql: &str, columns: &[Column], properties: &[(String, String)]) -> Sent {
    let plain = |name: &str, scalar| Column { name: name.to_owned(), scalar, array: false, decimal: None, cast: None };
    let id = &columns[1];
    let is_plain = !id.array && matches!(id.scalar, Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Text);
    let mut apart = vec![plain(&id.name, if is_plain { id.scalar } else { Scalar::Text })];
    let mut selected = if is_plain { id.cast.unwrap_or("{}").replace("{}", "c1") } else { "c1::text".to_owned() };
    for (name, of) in properties {
        let value = format!("(c3::json ->> '{}')", name.replace('\'', "''"));
        let (scalar, cast) = if of == "number" { (Scalar::Float8, "::float8") } else { (Scalar::Text, "") };
        apart.push(plain(name, scalar));
        let _ = write!(selected, ", {value}{cast}");
    }
    apart.push(plain(GEOMETRY, Scalar::Bytea));
    selected.push_str(", ST_AsBinary(ST_GeomFromGeoJSON(c2::text), 'NDR')");
    let copy = format!("COPY (SELECT {selected} FROM (\n{sql}\n) AS r(c0, c1, c2, c3)) TO STDOUT (FORMAT binary)");
    Sent { columns: apart, copy }
}

/// The column of a feature's geometry.
pub(crate) const GEOMETRY: &str = "geometry";

/// Precision and scale out of the modifier of `numeric`, where 128 bits hold such numbers.
fn decimal(modifier: i32) -> Option<(u8, u8)> {
    // PostgreSQL's numeric.c: behind a header of four, 16 bits and 11, the latter with a sign since version 15.
    let bits = modifier.checked_sub(4).filter(|bits| *bits >= 0)?;
    let (precision, scale) = (bits >> 16, ((bits & 0x7ff) ^ 0x400) - 0x400);
    (precision <= 38 && (0..=precision).contains(&scale)).then_some((precision as u8, scale as u8))
}

/// The statement that sends a query's rows in binary. PostgreSQL takes one statement at a time in the way we ask, so nothing
/// that the query holds makes it two.
pub(crate) fn copy(sql: &str, columns: &[Column]) -> String {
    // On lines of its own, for the query may end in a comment.
    if columns.iter().all(|column| column.cast.is_none()) {
        return format!("COPY (\n{sql}\n) TO STDOUT (FORMAT binary)");
    }
    // By number: names may be missing, or the same twice.
    let (mut selected, mut names) = (String::new(), String::new());
    for (i, column) in columns.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let name = format!("c{i}");
        let cast = column.cast.unwrap_or("{}").replace("{}", &name);
        let _ = write!(selected, "{comma}{cast}");
        let _ = write!(names, "{comma}{name}");
    }
    format!("COPY (SELECT {selected} FROM (\n{sql}\n) AS r({names})) TO STDOUT (FORMAT binary)")
}
