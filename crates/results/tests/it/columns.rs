//! Arrow and Parquet, read back with the crates.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use results::Format::{self, Arrow, Parquet};

use crate::rig::Server;

/// The batches of a file.
fn read(format: Format, file: Vec<u8>) -> (arrow_schema::SchemaRef, Vec<RecordBatch>) {
    match format {
        Arrow => {
            let reader =
                arrow_ipc::reader::FileReader::try_new(std::io::Cursor::new(file), None).expect("an Arrow file");
            (reader.schema(), reader.map(|batch| batch.expect("a batch")).collect())
        }
        _ => {
            let bytes = bytes::Bytes::from(file);
            let builder =
                parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
            let schema = builder.schema().clone();
            (schema, builder.build().expect("a reader").map(|batch| batch.expect("a batch")).collect())
        }
    }
}

/// Whether each value is there, in order.
fn present(array: &ArrayRef) -> Vec<bool> {
    (0..array.len()).map(|i| array.is_valid(i)).collect()
}

const TABLE: &str = r#"
    CREATE TABLE t (b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, d numeric(38,2), d2 numeric(5,4), t text,
                    day date, ts timestamp, tz timestamptz, tm time, raw bytea, j json, a int[], u uuid);
    INSERT INTO t DEFAULT VALUES;
    INSERT INTO t VALUES
      (true, -5, 9007199254740993, 0.1, 'NaN', 12345678901234567890.5, 123456789012345678901234567890123456.78, -0.0123, 'é',
       '1969-12-31', '1969-12-31 23:59:59.5', '2016-01-01 02:00+02', '03:00', '\x00ff', ' {"a": 1}', '{{1,NULL}}',
       'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'),
      (false, 5, -1, 'Infinity', 5e-324, 'NaN', 'NaN', 1, '',
       'infinity', '-infinity', '294276-12-31 23:59:59+00', '24:00', '', '[]', '{}', NULL)"#;

#[test]
fn values_of_every_kind() {
    let server = Server::start();
    server.run(TABLE);
    for format in [Arrow, Parquet] {
        let (schema, batches) = read(format, server.file("SELECT * FROM t", format));
        let [batch] = &batches[..] else { panic!("{} batches", batches.len()) };
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
        let text =
            |name: &str| column(name).as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect::<Vec<_>>();
        let some = |text: &str| Some(text.to_owned());

        assert!(batch.columns().iter().all(|column| column.is_null(0)), "{format:?}: NULL is null everywhere");
        assert!(column("b").as_boolean().value(1) && !column("b").as_boolean().value(2));
        assert_eq!(column("i2").as_primitive::<Int16Type>().values()[1..], [-5, 5]);
        assert_eq!(column("i8").as_primitive::<Int64Type>().values()[1..], [9_007_199_254_740_993, -1]);
        assert_eq!(column("f4").as_primitive::<Float32Type>().values()[1..], [0.1, f32::INFINITY]);
        assert!(column("f8").as_primitive::<Float64Type>().value(1).is_nan());
        assert_eq!(column("f8").as_primitive::<Float64Type>().value(2), 5e-324);
        assert_eq!(column("n").as_primitive::<Float64Type>().value(1), 12_345_678_901_234_567_890.5);
        assert!(column("n").as_primitive::<Float64Type>().value(2).is_nan());
        assert_eq!(*column("d").data_type(), DataType::Decimal128(38, 2));
        assert_eq!(column("d").as_primitive::<Decimal128Type>().value(1), 12345678901234567890123456789012345678);
        assert_eq!(present(column("d")), [false, true, false]);
        assert_eq!(column("d2").as_primitive::<Decimal128Type>().values()[1..], [-123, 10_000]);
        assert_eq!(text("t"), [None, some("é"), some("")]);
        assert_eq!(column("day").as_primitive::<Date32Type>().value(1), -1);
        assert_eq!(present(column("day")), [false, true, false]);
        assert_eq!(column("ts").as_primitive::<TimestampMicrosecondType>().value(1), -500_000);
        assert_eq!(present(column("ts")), [false, true, false]);
        let utc = schema.field_with_name("tz").expect("tz").data_type();
        assert_eq!(*utc, DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))));
        assert_eq!(column("tz").as_primitive::<TimestampMicrosecondType>().value(1), 1_451_606_400_000_000);
        assert_eq!(present(column("tz")), [false, true, false], "the end of PostgreSQL's time is beyond Arrow's");
        assert_eq!(present(column("tm")), [false, true, false]);
        assert_eq!(column("raw").as_binary::<i32>().value(1), [0, 255]);
        assert_eq!(text("j"), [None, some("{\"a\":1}"), some("[]")]);
        assert_eq!(text("a"), [None, some("[[1,null]]"), some("[]")]);
        assert_eq!(text("u")[1], some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
    }
}

#[test]
fn rows_and_columns() {
    let server = Server::start();
    for format in [Arrow, Parquet] {
        let (schema, batches) = read(format, server.file("SELECT 1 AS a, 2 AS a_2, 3 AS a, 'x' WHERE false", format));
        assert_eq!(
            schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
            ["a", "a_2", "a_3", "?column?"]
        );
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);

        // Several batches, and of Parquet several row groups.
        let many = "SELECT i, md5(i::text) AS t FROM (SELECT generate_series(1, 100000) AS i) g";
        let (_, batches) = read(format, server.file(many, format));
        assert!(batches.len() > 1, "{format:?}");
        let numbers =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<arrow_array::types::Int32Type>().values());
        assert!(numbers.copied().eq(1..=100_000), "{format:?}");
        assert_eq!(batches[0].column(1).as_string::<i32>().value(0), "c4ca4238a0b923820dcc509a6f75849b");
    }
}
