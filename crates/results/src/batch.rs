//! Rows gathered into record batches, column by column: what Arrow and Parquet are written from.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int16Builder, Int32Builder, Int64Builder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
    UInt32Builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::columns::{Column, Scalar};
use crate::encode::{self, in_column};
use crate::json;
use crate::text::Numeric;
use crate::wire::{self, Malformed, Result};

/// Rows of a batch at most, and the bytes from which on it is full: a reader's unit, and what a stream holds in memory.
const ROWS: usize = 64 << 10;
const BYTES: usize = 1 << 20;

/// From 1970-01-01, where Arrow begins, to 2000-01-01, where PostgreSQL does.
const DAYS: i32 = 10_957;
const MICROSECONDS: i64 = DAYS as i64 * 86_400_000_000;

/// A batch in the making.
pub(crate) struct Batch {
    schema: SchemaRef,
    columns: Vec<(Column, Builder)>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    pub(crate) fn new(columns: &[Column]) -> Batch {
        let columns: Vec<_> = columns.iter().map(|column| (column.clone(), Builder::of(column))).collect();
        let names = names(columns.iter().map(|(column, _)| column.name.as_str()));
        let fields = columns.iter().zip(names).map(|((_, builder), name)| Field::new(name, builder.of_type(), true));
        Batch { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns, rows: 0, bytes: 0 }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Whether there is anything in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row; whether the batch is full now.
    pub(crate) fn push(&mut self, mut fields: &[u8]) -> std::result::Result<bool, encode::Fault> {
        self.rows += 1;
        self.bytes += fields.len();
        for (i, (column, builder)) in self.columns.iter_mut().enumerate() {
            let field = wire::field(&mut fields).map_err(in_column(i))?;
            builder.push(column, field).map_err(in_column(i))?;
        }
        Ok(self.rows >= ROWS || self.bytes >= BYTES)
    }

    /// Takes what there is.
    pub(crate) fn take(&mut self) -> std::result::Result<RecordBatch, ArrowError> {
        let arrays = self.columns.iter_mut().map(|(_, builder)| builder.finish()).collect();
        // A query without columns has rows all the same.
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
    }
}

/// Names that are there once each, as readers of tables expect: the second `a` is `a_2`.
pub(crate) fn names<'a>(of: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in of.clone() {
        let mut unique = name.to_owned();
        let mut number = 2;
        while taken.contains(&unique) || (number > 2 && of.clone().any(|other| other == unique)) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        taken.push(unique);
    }
    taken
}

/// A column in the making.
enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(UInt32Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    /// A `numeric` of unknown scale, as the nearest float.
    Nearest(Float64Builder),
    /// With its precision and scale.
    Decimal(Decimal128Builder, u8, i8),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    Time(Time64MicrosecondBuilder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    /// Values written as in JSON first.
    Json(StringBuilder, Vec<u8>),
    /// Values that need no quotes there.
    Plain(StringBuilder, Vec<u8>),
}

impl Builder {
    fn of(column: &Column) -> Builder {
        if column.array {
            return Builder::Json(StringBuilder::new(), Vec::new());
        }
        match column.scalar {
            Scalar::Bool => Builder::Bool(BooleanBuilder::new()),
            Scalar::Int2 => Builder::Int2(Int16Builder::new()),
            Scalar::Int4 => Builder::Int4(Int32Builder::new()),
            Scalar::Int8 => Builder::Int8(Int64Builder::new()),
            Scalar::Oid => Builder::Oid(UInt32Builder::new()),
            Scalar::Float4 => Builder::Float4(Float32Builder::new()),
            Scalar::Float8 => Builder::Float8(Float64Builder::new()),
            Scalar::Numeric => match column.decimal {
                Some((precision, scale)) => {
                    let of = DataType::Decimal128(precision, scale as i8);
                    Builder::Decimal(Decimal128Builder::new().with_data_type(of), precision, scale as i8)
                }
                None => Builder::Nearest(Float64Builder::new()),
            },
            Scalar::Date => Builder::Date(Date32Builder::new()),
            Scalar::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::new()),
            Scalar::TimestampTz => Builder::TimestampTz(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            Scalar::Time => Builder::Time(Time64MicrosecondBuilder::new()),
            Scalar::Text => Builder::Text(StringBuilder::new()),
            Scalar::Bytea => Builder::Bytes(BinaryBuilder::new()),
            Scalar::Json | Scalar::Jsonb => Builder::Json(StringBuilder::new(), Vec::new()),
            Scalar::TimeTz | Scalar::Uuid => Builder::Plain(StringBuilder::new(), Vec::new()),
        }
    }

    fn of_type(&self) -> DataType {
        match self {
            Builder::Bool(_) => DataType::Boolean,
            Builder::Int2(_) => DataType::Int16,
            Builder::Int4(_) => DataType::Int32,
            Builder::Int8(_) => DataType::Int64,
            Builder::Oid(_) => DataType::UInt32,
            Builder::Float4(_) => DataType::Float32,
            Builder::Float8(_) | Builder::Nearest(_) => DataType::Float64,
            Builder::Decimal(_, precision, scale) => DataType::Decimal128(*precision, *scale),
            Builder::Date(_) => DataType::Date32,
            Builder::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
            Builder::TimestampTz(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Builder::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            Builder::Text(_) | Builder::Json(..) | Builder::Plain(..) => DataType::Utf8,
            Builder::Bytes(_) => DataType::Binary,
        }
    }

    /// Adds a field. What the type of the column can't say (infinite days, `numeric`'s NaN among decimals) is null.
    fn push(&mut self, column: &Column, field: Option<&[u8]>) -> Result<()> {
        match self {
            Builder::Bool(builder) => builder.append_option(read(field, |bytes: [u8; 1]| bytes != [0])?),
            Builder::Int2(builder) => builder.append_option(read(field, i16::from_be_bytes)?),
            Builder::Int4(builder) => builder.append_option(read(field, i32::from_be_bytes)?),
            Builder::Int8(builder) => builder.append_option(read(field, i64::from_be_bytes)?),
            Builder::Oid(builder) => builder.append_option(read(field, u32::from_be_bytes)?),
            Builder::Float4(builder) => builder.append_option(read(field, f32::from_be_bytes)?),
            Builder::Float8(builder) => builder.append_option(read(field, f64::from_be_bytes)?),
            Builder::Nearest(builder) => {
                builder.append_option(field.map(Numeric::read).transpose()?.map(|value| value.nearest()));
            }
            Builder::Decimal(builder, _, scale) => {
                let value = field.map(Numeric::read).transpose()?;
                builder.append_option(value.and_then(|value| value.scaled(i32::from(*scale))));
            }
            Builder::Date(builder) => {
                let days = read(field, i32::from_be_bytes)?.filter(|days| !matches!(*days, i32::MIN | i32::MAX));
                builder.append_option(days.and_then(|days| days.checked_add(DAYS)));
            }
            Builder::Timestamp(builder) | Builder::TimestampTz(builder) => {
                let time = read(field, i64::from_be_bytes)?.filter(|time| !matches!(*time, i64::MIN | i64::MAX));
                builder.append_option(time.and_then(|time| time.checked_add(MICROSECONDS)));
            }
            // PostgreSQL has 24:00:00.
            Builder::Time(builder) => {
                builder.append_option(read(field, i64::from_be_bytes)?.filter(|time| *time < 86_400_000_000));
            }
            Builder::Text(builder) => builder.append_option(field.map(String::from_utf8_lossy)),
            Builder::Bytes(builder) => builder.append_option(field),
            Builder::Json(builder, scratch) => {
                scratch.clear();
                field.map(|bytes| json::column_value(scratch, column, bytes)).transpose()?;
                builder.append_option(field.map(|_| String::from_utf8_lossy(scratch)));
            }
            Builder::Plain(builder, scratch) => {
                scratch.clear();
                field.map(|bytes| json::plain(scratch, column.scalar, bytes, b'T')).transpose()?;
                builder.append_option(field.map(|_| String::from_utf8_lossy(scratch)));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        let builder: &mut dyn ArrayBuilder = match self {
            Builder::Bool(builder) => builder,
            Builder::Int2(builder) => builder,
            Builder::Int4(builder) => builder,
            Builder::Int8(builder) => builder,
            Builder::Oid(builder) => builder,
            Builder::Float4(builder) => builder,
            Builder::Float8(builder) | Builder::Nearest(builder) => builder,
            Builder::Decimal(builder, ..) => builder,
            Builder::Date(builder) => builder,
            Builder::Timestamp(builder) | Builder::TimestampTz(builder) => builder,
            Builder::Time(builder) => builder,
            Builder::Text(builder) | Builder::Json(builder, _) | Builder::Plain(builder, _) => builder,
            Builder::Bytes(builder) => builder,
        };
        builder.finish()
    }
}

fn read<const N: usize, T>(field: Option<&[u8]>, from: impl Fn([u8; N]) -> T) -> Result<Option<T>> {
    field.map(|bytes| bytes.try_into().map(from).map_err(|_| Malformed)).transpose()
}
