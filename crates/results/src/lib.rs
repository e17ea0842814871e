//! The rows of a query, streamed out of PostgreSQL into the bytes of a file.
//!
//! ```text
//! format    the types of file: extensions, content types
//! rows      the stream: asks, waits for the first row, hands on chunks, cancels what is given up
//! columns   what the query's columns are, and the query as it is sent
//! wire      PostgreSQL's binary COPY
//! encode    what the writers below have in common
//! json      JSON and GeoJSON
//! csv       CSV
//! text      numbers and times as text, for both
//! batch     rows gathered by column
//! arrow     Arrow's file of such batches
//! parquet   Parquet's
//! fgb       FlatGeobuf
//! ```
//!
//! Rows come by `COPY (query) TO STDOUT (FORMAT binary)`: their fields are read where they lie, and the query is free to run in
//! parallel, which a cursor's is not. What it holds of types that are not read here is cast to text there.
//!
//! # Values
//!
//! | PostgreSQL | JSON | CSV |
//! |---|---|---|
//! | integers | number | the same |
//! | floats | shortest digits that are read back as the same: `1.0`, `1e+20`, `1e-07` | the same |
//! | `numeric` | number with all its digits | the same |
//! | NaN, infinities | null | `nan`, `inf`, `-inf`; of `numeric` `NaN`, `Infinity`, `-Infinity` |
//! | NULL | null | nothing |
//! | `boolean` | `true`, `false` | `True`, `False` |
//! | text, enums | string, in ASCII | as it is; in quotes where it has a comma, quote or line end |
//! | `date` | `"2016-01-01"` | `2016-01-01` |
//! | timestamps | `"2016-01-01T02:03:04.500000"`, with a zone in UTC: `…+00:00` | with a space for the `T` |
//! | times of day | `"03:04:00"`, with a zone `"03:04:00+02:00"` | the same |
//! | days before Christ, infinities | `"0044-03-15 BC"`, `"infinity"`, as PostgreSQL prints them | the same |
//! | arrays | array | JSON |
//! | `json`, `jsonb` | as it is, without spaces | JSON |
//! | rows (composite types) | object | JSON |
//! | `bytea` | `"\\x00ff"` | `\x00ff` |
//! | others (`interval`, `inet`, `geometry`, …) | string, by PostgreSQL's cast to text | the same |
//!
//! Arrow and Parquet have types of their own: integers, floats, booleans, text and `bytea` as they are; `numeric(p, s)` up to 38
//! digits as a decimal, other `numeric` as the nearest double; dates, times of day and timestamps in microseconds, those with
//! a zone in UTC. Arrays, JSON, rows, `uuid` and times of day with a zone are text as in JSON. What a type there can't say
//! (infinite dates, 24:00:00, years after 294246, NaN among decimals) is null. A name that is there twice gets a number.
//!
//! GeoParquet and FlatGeobuf take features apart: a column for each property that the first of them has, numbers as doubles and all
//! else as text, and the geometry, as WKB or flat. They need PostGIS in the database. GeoPackage is not here: an SQLite database
//! is not written from its first byte to its last.
//!
//! ```no_run
//! use futures_util::StreamExt;
//! use results::{Format, Query};
//!
//! # async fn run(client: tokio_postgres::Client) -> Result<(), results::Error> {
//! let query = Query { sql: "SELECT * FROM cache.x123", format: Format::Json, query_id: "123", timeout: None };
//! let mut rows = results::open(client, &query).await?; // an error here is one before the first byte
//! while let Some(chunk) = rows.next().await {
//!     let bytes = chunk?; // an error here is a torn file
//! #   drop(bytes);
//! }
//! # Ok(())
//! # }
//! ```

// A dependency that nothing uses. Tests have some more.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

mod arrow;
mod batch;
mod columns;
mod csv;
mod encode;
mod error;
mod fgb;
mod format;
mod json;
mod parquet;
mod rows;
mod text;
mod wire;

pub use error::Error;
pub use format::Format;
pub use rows::{Lent, Query, Rows, open};
